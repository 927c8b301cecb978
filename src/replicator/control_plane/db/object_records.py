"""Objects of jobs in SQL. Statements are built once: building one takes longer than running it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db import rows
from replicator.control_plane.db.schema import is_state, job_objects, jobs
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

_INSERT = sa.insert(job_objects)
_UPDATE = sa.update(job_objects).where(_C.job_id == _JOB, _C.id == _ROW)
_GIVEN = {
    "task_id": sa.bindparam("to_task"),
    "bytes_transferred": 0,
    "bytes_deduplicated": 0,
    "bytes_saved": 0,
}
_GIVE = sa.update(job_objects).where(_C.job_id == _JOB, _C.id == _ROW).values(_GIVEN)
_GIVE_STRETCH = (
    sa.update(job_objects)
    .where(_C.job_id == _JOB, _C.id.between(sa.bindparam("first"), sa.bindparam("last")))
    .values(_GIVEN)
)
_PAGE = _OF_JOB.where(_C.id > _ROW)
_PAGE_OF_OUTCOME = _PAGE.where(_C.outcome == sa.bindparam("of_outcome"))
# The bound on the id makes SQLite prefer the small index to all the rows of the job.
_UNASSIGNED = _OF_JOB.where(_PENDING, _C.task_id.is_(None), _C.action == sa.bindparam("of_action"), _C.id > 0)
_PENDING_OF_TASK = sa.select(job_objects).where(_PENDING, _C.task_id == _TASK).order_by(_C.id).limit(_LIMIT)
_END = sa.update(job_objects).where(_PENDING, _C.task_id == _TASK).values(outcome=sa.bindparam("to_outcome"))
_END_WITH_ERROR = _END.values({name: sa.bindparam(name) for name in rows.error_values(None)})
_COUNT_ATTEMPT = sa.update(job_objects).where(_PENDING, _C.task_id == _TASK).values(attempts=_C.attempts + 1)
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
_DESTINATIONS = sa.select(jobs.c.dst_node).where(jobs.c.id.in_(sa.bindparam("job_ids", expanding=True)))


class SqlObjects:
    """`ObjectRows` on one connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add_many(self, added: Sequence[ObjectRow]) -> None:
        """New rows; their ids must follow those that their jobs have."""
        if added:
            self._connection.execute(_INSERT, [rows.object_values(row) for row in added])

    def put_many(self, changed: Sequence[ObjectRow]) -> None:
        """Replaces the rows of those jobs and ids, but for what they are about, which stays."""
        if changed:
            self._connection.execute(_UPDATE, [_changes(row) for row in changed])

    def give(self, batch: Sequence[ObjectRow], task: Task) -> None:
        """`task` is to deal with `batch`, pending rows of its job; what came for them before is its credit."""
        values = {"of_job": task.job_id, "to_task": task.id}
        if batch[-1].id - batch[0].id == len(batch) - 1:
            self._connection.execute(_GIVE_STRETCH, values | {"first": batch[0].id, "last": batch[-1].id})
        else:
            self._connection.execute(_GIVE, [values | {"row": row.id} for row in batch])

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
        return self._all(_PENDING_OF_TASK, {"of_task": task.id, "limit": limit or ITEMS_MAX})

    def end(self, task: Task, outcome: Outcome, *, error: ErrorInfo | None) -> None:
        """The rows that `task` has still to deal with end so; an error of None leaves each its own."""
        values: rows.Values = {"of_task": task.id, "to_outcome": str(outcome)}
        if error is None:
            self._connection.execute(_END, values)
        else:
            self._connection.execute(_END_WITH_ERROR, values | rows.error_values(error))

    def unassigned(self, job_id: int, *, action: Action, limit: int) -> Sequence[ObjectRow]:
        """The first pending rows of a job that no task is to deal with."""
        return self._all(_UNASSIGNED, {"of_job": job_id, "of_action": str(action), "limit": limit})

    def count_attempt(self, task: Task) -> None:
        """The rows that `task` has still to deal with are part of one attempt more."""
        self._connection.execute(_COUNT_ATTEMPT, {"of_task": task.id})

    def holders(self, manifests: Sequence[str], *, limit: int) -> Sequence[NodeName]:
        """At most `limit` nodes to which some job has brought one of `manifests`; a hint, not a promise."""
        values = {"manifests": list(manifests), "limit": _HINTS_READ_MAX}
        job_ids = set(self._connection.scalars(_BROUGHT_BY, values))
        if not job_ids:
            return []
        names = set(self._connection.scalars(_DESTINATIONS, {"job_ids": sorted(job_ids)}))
        return sorted(map(NodeName, names))[:limit]

    def _all(self, query: sa.Select[Any], values: rows.Values) -> Sequence[ObjectRow]:
        return [rows.object_of(row) for row in self._connection.execute(query, values)]


def _changes(row: ObjectRow) -> rows.Values:
    return rows.object_changes(row) | {"of_job": row.job_id, "row": row.id}
