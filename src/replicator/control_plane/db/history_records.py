"""Jobs in history, in SQL: found again, moved there, and removed with all that is kept of them.

A move copies and deletes in one transaction, so every task is in exactly one place at every commit. A job's row
goes last: tasks refer to it. Rows are copied and deleted by the database; only ids come here, at most a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db import rows
from replicator.control_plane.db.schema import (
    attempt_history,
    attempts,
    job_events,
    job_history,
    job_objects,
    jobs,
    task_history,
    tasks,
)
from replicator.control_plane.db.write_behind import WriteBehind
from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.task import Task
from replicator.control_plane.ports import Gone
from replicator.wire.sessions import INTEGER_MAX

_KEY: sa.BindParameter[Any] = sa.bindparam("key")
_LIMIT: sa.BindParameter[Any] = sa.bindparam("limit")
_BY: sa.BindParameter[Any] = sa.bindparam("ended_by")
_IDS: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)

_H = job_history.c
_GET = sa.select(job_history).where(_H.id == _KEY)
_GET_BY_IDEMPOTENCY_KEY = sa.select(job_history).where(_H.idempotency_key == _KEY)
_PAGE = (
    sa.select(job_history)
    .where(_H.id < _KEY, _H.id > sa.bindparam("above"))
    .order_by(_H.id.desc())
    .limit(_LIMIT)
)
_PAGE_IN_STATE = _PAGE.where(_H.state == sa.bindparam("in_state"))
_TASK = sa.select(task_history).where(task_history.c.id == _KEY)
_HOLDS_TASKS_OF = sa.select(task_history.c.id).where(task_history.c.job_id == _KEY).limit(1)

# A job that lives has no end, and so has one that ended and is tried again.
_FIRST_END = sa.select(sa.func.min(jobs.c.finished_at_ms)).where(jobs.c.finished_at_ms.is_not(None))
_FIRST_END_IN_HISTORY = sa.select(sa.func.min(_H.finished_at_ms))
_TO_MOVE = (
    sa.select(jobs.c.id, jobs.c.tasks_planned.label("owned"))
    .where(jobs.c.finished_at_ms <= _BY)
    .order_by(jobs.c.finished_at_ms, jobs.c.id)
    .limit(_LIMIT)
)
_TO_PRUNE = (
    sa.select(_H.id, (_H.rows_found + _H.tasks_planned + _H.attempts).label("owned"))
    .where(_H.finished_at_ms <= _BY)
    .order_by(_H.finished_at_ms, _H.id)
    .limit(_LIMIT)
)


def _copy(source: sa.Table, target: sa.Table, which: sa.ColumnElement[bool]) -> sa.Insert:
    names = target.c.keys()
    return sa.insert(target).from_select(names, sa.select(*(source.c[name] for name in names)).where(which))


_TASKS_TO_MOVE = (
    sa.select(tasks.c.id).where(tasks.c.job_id.in_(_IDS)).order_by(tasks.c.job_id, tasks.c.id).limit(_LIMIT)
)
_HAS_NO_TASKS = ~sa.exists().where(tasks.c.job_id == jobs.c.id)
_MOVE_TASKS = (
    _copy(attempts, attempt_history, attempts.c.task_id.in_(_IDS)),
    _copy(tasks, task_history, tasks.c.id.in_(_IDS)),
    sa.delete(attempts).where(attempts.c.task_id.in_(_IDS)),
    sa.delete(tasks).where(tasks.c.id.in_(_IDS)),
)
_MOVE_JOBS = (
    _copy(jobs, job_history, jobs.c.id.in_(_IDS) & _HAS_NO_TASKS),
    sa.delete(jobs).where(jobs.c.id.in_(_IDS), _HAS_NO_TASKS),
)


def _delete_page(table: sa.Table, page: sa.Select[Any]) -> sa.Delete:
    key = sa.tuple_(*table.primary_key.columns)
    return sa.delete(table).where(key.in_(page.limit(_LIMIT)))


def _of_jobs(table: sa.Table) -> sa.Select[Any]:
    return sa.select(*table.primary_key.columns).where(table.c.job_id.in_(_IDS))


# Attempts are found by their tasks, so these go after them; the row that says that there was a job goes last.
_PRUNE_ROWS = (
    _delete_page(
        attempt_history,
        sa.select(attempt_history.c.task_id, attempt_history.c.epoch)
        .join(task_history, task_history.c.id == attempt_history.c.task_id)
        .where(task_history.c.job_id.in_(_IDS)),
    ),
    _delete_page(task_history, _of_jobs(task_history)),
    _delete_page(job_objects, _of_jobs(job_objects)),
    _delete_page(job_events, _of_jobs(job_events)),
)
_PRUNE_JOBS = sa.delete(job_history).where(_H.id.in_(_IDS))


class SqlHistory:
    """`HistoryRecords` on one connection."""

    def __init__(self, connection: WriteBehind) -> None:
        self._connection = connection

    def get(self, job_id: int) -> Job | None:
        """The job, if it is in history."""
        return self._one(_GET, job_id)

    def by_idempotency_key(self, key: str) -> Job | None:
        """The job in history that was submitted under `key`."""
        return self._one(_GET_BY_IDEMPOTENCY_KEY, key)

    def page(self, *, before: int | None, above: int, limit: int, state: JobState | None) -> Sequence[Job]:
        """At most `limit` jobs with ids below `before` and above `above`, newest first."""
        values: rows.Values = {
            "key": INTEGER_MAX if before is None else before,
            "above": above,
            "limit": limit,
        }
        if state is None:
            found = self._connection.execute(_PAGE, values)
        else:
            found = self._connection.execute(_PAGE_IN_STATE, values | {"in_state": str(state)})
        return [rows.job_of(row) for row in found]

    def task(self, task_id: int) -> Task | None:
        """The task, if it is in history."""
        row = self._connection.execute(_TASK, {"key": task_id}).one_or_none()
        return None if row is None else rows.task_of(row)

    def holds_tasks_of(self, job_id: int) -> bool:
        """Whether any task of the job is in history."""
        return self._connection.execute(_HOLDS_TASKS_OF, {"key": job_id}).first() is not None

    def first_end_to_move_ms(self) -> int | None:
        """When the first of the ended jobs that are not in history ended."""
        return self._earliest(_FIRST_END)

    def first_end_ms(self) -> int | None:
        """When the first of the jobs in history ended."""
        return self._earliest(_FIRST_END_IN_HISTORY)

    def move(self, *, ended_by_ms: int, jobs_max: int, tasks_max: int) -> Gone:
        """Moves jobs that had ended by then, longest ended first."""
        ids = self._chosen(_TO_MOVE, ended_by_ms, jobs_max=jobs_max, rows_max=tasks_max)
        if not ids:
            return Gone()
        task_ids = list(self._connection.scalars(_TASKS_TO_MOVE, {"ids": ids, "limit": tasks_max}))
        if task_ids:
            for statement in _MOVE_TASKS:
                self._connection.execute(statement, {"ids": task_ids})
        moved = [self._connection.execute(statement, {"ids": ids}).rowcount for statement in _MOVE_JOBS]
        return Gone(jobs=moved[-1], rows=len(task_ids))

    def prune(self, *, ended_by_ms: int, jobs_max: int, rows_max: int) -> Gone:
        """Removes jobs in history that had ended by then, longest ended first."""
        ids = self._chosen(_TO_PRUNE, ended_by_ms, jobs_max=jobs_max, rows_max=rows_max)
        room = rows_max if ids else 0
        for statement in _PRUNE_ROWS:
            if room:
                room -= self._connection.execute(statement, {"ids": ids, "limit": room}).rowcount
        if not room:  # there may be more
            return Gone(rows=rows_max if ids else 0)
        pruned = self._connection.execute(_PRUNE_JOBS, {"ids": ids}).rowcount
        return Gone(jobs=pruned, rows=rows_max - room)

    def _chosen(self, query: sa.Select[Any], ended_by_ms: int, *, jobs_max: int, rows_max: int) -> list[int]:
        """Jobs with at most so many rows in all, or the first one alone: one that is large is dealt with at a time."""
        ids: list[int] = []
        room = rows_max
        for row in self._connection.execute(query, {"ended_by": ended_by_ms, "limit": jobs_max}):
            room -= row.owned
            if ids and room < 0:
                break
            ids.append(row.id)
        return ids

    def _earliest(self, query: sa.Select[Any]) -> int | None:
        earliest: int | None = self._connection.execute(query).scalar_one()
        return earliest

    def _one(self, query: sa.Select[Any], key: int | str) -> Job | None:
        row = self._connection.execute(query, {"key": key}).one_or_none()
        return None if row is None else rows.job_of(row)
