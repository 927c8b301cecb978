"""Objects of jobs in SQL. Statements are built once: building one takes longer than running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db import rows
from replicator.control_plane.db.schema import is_state, job_history, job_objects, jobs
from replicator.control_plane.db.write_behind import WriteBehind
from replicator.control_plane.domain.object_row import Action, ObjectRow, Outcome
from replicator.control_plane.domain.task import Task
from replicator.kernel.names import NodeName
from replicator.wire.sessions import ITEMS_MAX, ErrorInfo

_Bound = sa.BindParameter[Any]
_JOB: _Bound = sa.bindparam("of_job")
_ROW: _Bound = sa.bindparam("row")
_TASK: _Bound = sa.bindparam("of_task")
_LIMIT: _Bound = sa.bindparam("limit")
_HINTS_READ_MAX = 256

_C = job_objects.c
_PENDING = is_state(_C.outcome, Outcome.PENDING)
_OF_JOB = sa.select(job_objects).where(_C.job_id == _JOB).order_by(_C.id).limit(_LIMIT)

_GIVE_STRETCH = (
    "UPDATE job_objects SET task_id = ?, bytes_transferred = 0, bytes_deduplicated = 0, bytes_saved = 0 "
    "WHERE job_id = ? AND id BETWEEN ? AND ?"
)
_PAGE = _OF_JOB.where(_C.id > _ROW)
_PAGE_OF_OUTCOME = _PAGE.where(_C.outcome == sa.bindparam("of_outcome"))
# The bound on the id makes SQLite prefer the small index to all the rows of the job.
_UNASSIGNED = _OF_JOB.where(_PENDING, _C.task_id.is_(None), _C.action == sa.bindparam("of_action"), _C.id > 0)
_PENDING_OF_TASK = sa.select(job_objects).where(_PENDING, _C.task_id == _TASK).order_by(_C.id).limit(_LIMIT)
_PENDING_OF_TASKS = (
    sa.select(job_objects)
    .where(_PENDING, _C.task_id.in_(sa.bindparam("of_tasks", expanding=True)))
    .order_by(_C.task_id, _C.id)
)
_END = sa.update(job_objects).where(_PENDING, _C.task_id == _TASK).values(outcome=sa.bindparam("to_outcome"))
_END_WITH_ERROR = _END.values({name: sa.bindparam(name) for name in rows.error_values(None)})
_COUNT_ATTEMPT = sa.update(job_objects).where(_PENDING, _C.task_id == _TASK).values(attempts=_C.attempts + 1)
_COUNT_ATTEMPT_LATER = (
    "UPDATE job_objects SET attempts = attempts + 1 WHERE outcome = 'pending' AND task_id = ?"
)
# A manifest that very many jobs have brought somewhere is not looked up in all of them.
_BROUGHT_BY = (
    sa.select(_C.job_id)
    .where(
        _C.manifest.in_(sa.bindparam("manifests", expanding=True)),
        _C.manifest.is_not(None),
        is_state(_C.outcome, Outcome.VERIFIED, Outcome.SKIPPED),
    )
    .limit(_LIMIT)
)
# One look into the index for each manifest, however many rows have it.
_WHICH_OF = (
    "WITH asked(manifest) AS (VALUES {}) SELECT manifest FROM asked WHERE EXISTS (SELECT 1 FROM job_objects "
    "WHERE job_objects.manifest = asked.manifest AND job_objects.manifest IS NOT NULL "
    "AND job_objects.outcome IN ('verified', 'skipped'))"
)
_MANIFESTS_STEP = 64
_JOBS: _Bound = sa.bindparam("job_ids", expanding=True)
_DESTINATIONS = sa.union(
    *(sa.select(table.c.dst_node).where(table.c.id.in_(_JOBS)) for table in (jobs, job_history))
)


class SqlObjects:
    """`ObjectRows` on one connection."""

    def __init__(self, connection: WriteBehind) -> None:
        self._connection = connection
        self._pending: dict[int, Sequence[ObjectRow]] = {}

    def add_many(self, added: Sequence[ObjectRow]) -> None:
        """New rows; their ids must follow those that their jobs have."""
        self._connection.insert(job_objects, [rows.object_values(row) for row in added])

    def put_many(self, changed: Sequence[ObjectRow]) -> None:
        """Replaces the rows of those jobs and ids, but for what they are about, which stays."""
        if any(self._is_told_of(row) for row in changed):
            self._connection.flush()
        for row in changed:
            self._connection.put(rows.OBJECT, (row.job_id, row.id), row)
            if row.task_id is not None:
                self._pending.pop(row.task_id, None)

    def give(self, batch: Sequence[ObjectRow], task: Task) -> None:
        """`task` is to deal with `batch`, pending rows of its job; what came for them before is its credit."""
        if task.id in self._tasks_told(_COUNT_ATTEMPT_LATER):
            self._connection.flush()
        if batch[-1].id - batch[0].id == len(batch) - 1:
            values = (task.id, task.job_id, batch[0].id, batch[-1].id)
            self._connection.later(job_objects, _GIVE_STRETCH, values)
        else:
            for row in batch:
                self._connection.later(job_objects, _GIVE_STRETCH, (task.id, task.job_id, row.id, row.id))
        self._connection.forget(job_objects)
        self._pending.clear()

    def _is_told_of(self, row: ObjectRow) -> bool:
        """Whether a statement that would go out after a put of `row` may be about it."""
        return any(
            row.task_id in {None, values[0]} or (text == _GIVE_STRETCH and values[1] == row.job_id)
            for (text,), told in self._connection.rows_waiting(job_objects, "text")
            for values in told
        )

    def _tasks_told(self, *texts: str) -> set[int]:
        """The tasks that statements of these kinds which have not gone out are about."""
        return {
            values[0]
            for (text,), told in self._connection.rows_waiting(job_objects, "text")
            if text in texts
            for values in told
        }

    def _tasks_added_to(self) -> set[int | None]:
        """The tasks that new rows which have not gone out belong to."""
        return {
            row[columns.index("task_id")]
            for columns, rows_added in self._connection.rows_waiting(job_objects, "insert")
            for row in rows_added
        }

    def page(
        self, job_id: int, *, after_row: int, limit: int, outcome: Outcome | None = None
    ) -> Sequence[ObjectRow]:
        """At most `limit` rows of a job that follow `after_row`, of that outcome or of any."""
        values: rows.Values = {"of_job": job_id, "row": after_row, "limit": limit}
        if outcome is None:
            return self._all(_PAGE, values)
        return self._all(_PAGE_OF_OUTCOME, values | {"of_outcome": str(outcome)})

    def pending_of(self, task: Task, *, limit: int | None = None) -> Sequence[ObjectRow]:
        """The rows that `task` has still to deal with, or the first of them; a task has few."""
        known = self._pending.get(task.id)
        if known is not None:
            return known[:limit]
        return self._all(_PENDING_OF_TASK, {"of_task": task.id, "limit": limit or ITEMS_MAX})

    def pending_of_many(self, tasks: Sequence[Task]) -> Mapping[int, Sequence[ObjectRow]]:
        """What `pending_of` gives for each of `tasks`, by its id. Asked for so, it is read at once for all."""
        asked = sorted({task.id for task in tasks} - self._pending.keys())
        found: dict[int, list[ObjectRow]] = {task_id: [] for task_id in asked}
        if asked:
            if self._has_news_of(found.keys()):
                self._connection.flush()
            read = self._connection.query(_PENDING_OF_TASKS, {"of_tasks": asked}, of=())
            for row in map(self._read, read):
                assert row.task_id is not None
                found[row.task_id].append(row)
        self._pending |= found
        return {task.id: self._pending[task.id] for task in tasks}

    def _has_news_of(self, tasks: AbstractSet[int]) -> bool:
        return (
            not tasks.isdisjoint(self._tasks_told(_GIVE_STRETCH, _COUNT_ATTEMPT_LATER))
            or not tasks.isdisjoint(self._tasks_added_to())
            or any(
                before is None or before.task_id in tasks or after.task_id in tasks
                for before, after in self._connection.waiting(rows.OBJECT)
            )
        )

    def end(self, task: Task, outcome: Outcome, *, error: ErrorInfo | None) -> None:
        """The rows that `task` has still to deal with end so; an error of None leaves each its own."""
        values: rows.Values = {"of_task": task.id, "to_outcome": str(outcome)}
        if error is None:
            self._connection.change(_END, values, of=job_objects)
        else:
            self._connection.change(_END_WITH_ERROR, values | rows.error_values(error), of=job_objects)
        self._pending.pop(task.id, None)

    def unassigned(self, job_id: int, *, action: Action, limit: int) -> Sequence[ObjectRow]:
        """The first pending rows of a job that no task is to deal with."""
        return self._all(_UNASSIGNED, {"of_job": job_id, "of_action": str(action), "limit": limit})

    def count_attempt(self, task: Task) -> None:
        """The rows that `task` has still to deal with are part of one attempt more."""
        known = self._pending.get(task.id)
        if known is None:
            self._connection.change(_COUNT_ATTEMPT, {"of_task": task.id}, of=job_objects)
            return
        if task.id in self._tasks_told(_GIVE_STRETCH):
            self._connection.flush()
        # One statement for the rows of each task, not one for each row; what is known of them is as if it were done.
        self._connection.later(job_objects, _COUNT_ATTEMPT_LATER, (task.id,))
        counted = [replace(row, attempts=row.attempts + 1) for row in known]
        for row in counted:
            self._connection.expect(rows.OBJECT, (row.job_id, row.id), row)
        self._pending[task.id] = counted

    def brought(self, manifests: frozenset[str]) -> frozenset[str]:
        """Those of `manifests` that some job has brought somewhere."""
        if not manifests:
            return frozenset()
        asked = sorted(manifests)
        # Texts of few lengths, for each is kept by the driver.
        asked += asked[-1:] * (-len(asked) % _MANIFESTS_STEP)
        text = _WHICH_OF.format(", ".join(["(?)"] * len(asked)))
        # A hint: what this unit itself brings is not looked for.
        return frozenset(self._connection.query_text(text, tuple(asked), of=()))

    def holders(self, manifests: Sequence[str], *, limit: int) -> Sequence[NodeName]:
        """At most `limit` nodes to which some job has brought one of `manifests`; a hint, not a promise."""
        values = {"manifests": list(manifests), "limit": _HINTS_READ_MAX}
        job_ids = set(self._connection.query(_BROUGHT_BY, values, of=[job_objects]).scalars())
        if not job_ids:
            return []
        names = set(self._connection.query(_DESTINATIONS, {"job_ids": sorted(job_ids)}, of=()).scalars())
        return sorted(map(NodeName, names))[:limit]

    def _all(self, query: sa.Select[Any], values: rows.Values) -> Sequence[ObjectRow]:
        return [self._read(row) for row in self._connection.query(query, values, of=[job_objects])]

    def _read(self, row: rows.AnyRow) -> ObjectRow:
        read = rows.object_of(row)
        return self._connection.read(rows.OBJECT, (read.job_id, read.id), read)
