"""History in memory: see `memory_records`. Attempts stay where they are, for they are found by their task."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.task import Task
from replicator.control_plane.ports import Gone
from replicator.testing.memory_records import Tables


class MemoryHistory:
    """`HistoryRecords`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def get(self, job_id: int) -> Job | None:
        """See `HistoryRecords`."""
        return self._tables.job_history.get(job_id)

    def by_idempotency_key(self, key: str) -> Job | None:
        """See `HistoryRecords`."""
        return next((job for job in self._all() if job.idempotency_key == key), None)

    def page(self, *, before: int | None, above: int, limit: int, state: JobState | None) -> Sequence[Job]:
        """See `HistoryRecords`."""
        found = [job for job in self._all() if above < job.id and (before is None or job.id < before)]
        return sorted((job for job in found if state in {None, job.state}), key=lambda job: -job.id)[:limit]

    def task(self, task_id: int) -> Task | None:
        """See `HistoryRecords`."""
        return self._tables.task_history.get(task_id)

    def holds_tasks_of(self, job_id: int) -> bool:
        """See `HistoryRecords`."""
        return any(task.job_id == job_id for task in self._tables.task_history.values())

    def first_end_to_move_ms(self) -> int | None:
        """See `HistoryRecords`."""
        return _first_end_ms(self._ended())

    def first_end_ms(self) -> int | None:
        """See `HistoryRecords`."""
        return _first_end_ms(self._all())

    def move(self, *, ended_by_ms: int, jobs_max: int, tasks_max: int) -> Gone:
        """See `HistoryRecords`."""
        tables, moved = self._tables, 0
        chosen = _chosen(_first_ended(self._ended(), ended_by_ms)[:jobs_max], tasks_max)
        left = sorted((task.job_id, task.id) for task in tables.tasks.values() if task.job_id in chosen)
        for _, task_id in left[:tasks_max]:
            tables.task_history[task_id] = tables.tasks.pop(task_id)
        for job_id in chosen - {job_id for job_id, _ in left[tasks_max:]}:
            tables.job_history[job_id] = tables.jobs.pop(job_id)
            moved += 1
        return Gone(jobs=moved, rows=min(len(left), tasks_max))

    def prune(self, *, ended_by_ms: int, jobs_max: int, rows_max: int) -> Gone:
        """See `HistoryRecords`; in memory whole jobs go, however large."""
        tables, rows = self._tables, 0
        gone = {job.id for job in _first_ended(self._all(), ended_by_ms)[:jobs_max]}
        tasks = {task.id for task in tables.task_history.values() if task.job_id in gone}
        for table in (tables.attempts, tables.attempt_stories):
            _remove(table, [key for key in table if key[0] in tasks])
        rows += _remove(tables.task_history, tasks)
        rows += _remove(tables.objects, [key for key in tables.objects if key[0] in gone])
        _remove(tables.events, gone)
        return Gone(jobs=_remove(tables.job_history, gone), rows=min(rows, rows_max))

    def _all(self) -> Sequence[Job]:
        return list(self._tables.job_history.values())

    def _ended(self) -> Sequence[Job]:
        return [job for job in self._tables.jobs.values() if job.state in jobs.TERMINAL]


class MemoryUpkeep:
    """`UpkeepRecords` of a database that one process uses: there is nothing to note. It was upgraded at `from_ms`."""

    from_ms: int | None = None

    def first_wake_ms(self) -> int | None:
        """See `UpkeepRecords`."""
        return None

    def forget_wakes(self, *, by_ms: int, limit: int) -> int:  # noqa: ARG002 - the port's
        """See `UpkeepRecords`."""
        return 0

    def first_writer_ms(self) -> int | None:
        """See `UpkeepRecords`."""
        return None

    def forget_writers(self, *, by_ms: int) -> int:  # noqa: ARG002 - the port's
        """See `UpkeepRecords`."""
        return 0

    def history_from_ms(self) -> int | None:
        """See `UpkeepRecords`."""
        return self.from_ms

    def renew_identity(self) -> str:
        """See `UpkeepRecords`; nobody restores what is in memory."""
        raise NotImplementedError


def _first_end_ms(found: Iterable[Job]) -> int | None:
    return min((job.finished_at_ms for job in found if job.finished_at_ms is not None), default=None)


def _first_ended(found: Iterable[Job], ended_by_ms: int) -> list[Job]:
    over = [
        (job.finished_at_ms, job.id, job)
        for job in found
        if job.finished_at_ms is not None and job.finished_at_ms <= ended_by_ms
    ]
    return [job for *_, job in sorted(over, key=lambda each: each[:2])]


def _chosen(found: Sequence[Job], tasks_max: int) -> set[int]:
    """Jobs with at most so many tasks in all, or the first one alone."""
    planned = list(accumulate(job.tasks_planned for job in found))
    return {job.id for job, tasks in zip(found, planned, strict=True) if tasks <= tasks_max} or {
        job.id for job in found[:1]
    }


def _remove(table: dict[Any, Any], keys: Iterable[Any]) -> int:
    found = [key for key in keys if key in table]
    for key in found:
        del table[key]
    return len(found)
