"""Tasks and their attempts in SQL. Statements are built once: building one takes longer than running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db import rows
from replicator.control_plane.db.schema import TASK_STATES_LIVE, attempts, is_state, nodes, tasks
from replicator.control_plane.domain.task import Task, TaskState
from replicator.kernel.names import NodeName
from replicator.wire.sessions import ErrorInfo, Transfer

_Bound = sa.BindParameter[Any]
_KEY: _Bound = sa.bindparam("key")
_NODE: _Bound = sa.bindparam("node")
_MOMENT: _Bound = sa.bindparam("moment")
_LIMIT: _Bound = sa.bindparam("limit")
_READY = is_state(tasks.c.state, TaskState.READY)
_SCHEDULED = is_state(tasks.c.state, TaskState.SCHEDULED)
_LIVE = is_state(tasks.c.state, *TASK_STATES_LIVE)
_IN_HAND = tasks.c.lease_session_id.is_not(None)
_TASKS = sa.select(tasks)

_INSERT = sa.insert(tasks).returning(*tasks.c)
_GET = _TASKS.where(tasks.c.id == _KEY)
_UPDATE = sa.update(tasks).where(tasks.c.id == _KEY)
_LIVE_OF_JOBS = _TASKS.where(tasks.c.job_id.in_(sa.bindparam("job_ids", expanding=True)), _LIVE).order_by(
    tasks.c.id
)
_IN_HAND_OF_NODE = _TASKS.where(tasks.c.dst_node == _NODE, _IN_HAND).order_by(tasks.c.id)
_READY_FOR_NODE = (
    _TASKS.where(tasks.c.dst_node == _NODE, _READY)
    .order_by(tasks.c.priority.desc(), tasks.c.ready_at_ms, tasks.c.id)
    .limit(_LIMIT)
)
_READY_BEFORE = (
    _TASKS.where(tasks.c.dst_node == _NODE, _READY, tasks.c.ready_at_ms <= _MOMENT)
    .order_by(tasks.c.ready_at_ms, tasks.c.id)
    .limit(_LIMIT)
)
_PRIORITISE = sa.update(tasks).where(tasks.c.job_id == _KEY, _LIVE)
_PARKED_FOR_NODE = _TASKS.where(tasks.c.parked_for == _NODE, _SCHEDULED).limit(_LIMIT)
_DUE = (
    _TASKS.where(_SCHEDULED, tasks.c.not_before_ms <= _MOMENT).order_by(tasks.c.not_before_ms).limit(_LIMIT)
)
_NEXT_DUE = sa.select(sa.func.min(tasks.c.not_before_ms)).where(_SCHEDULED)
_EXPIRED = (
    _TASKS.where(_IN_HAND, tasks.c.lease_expires_at_ms <= _MOMENT)
    .order_by(tasks.c.lease_expires_at_ms)
    .limit(_LIMIT)
)
_NEXT_EXPIRY = sa.select(sa.func.min(tasks.c.lease_expires_at_ms)).where(_IN_HAND)
_ABSENCES = sa.select(
    nodes.c.name,
    nodes.c.disconnected_at_ms,
    sa.select(sa.func.min(tasks.c.ready_at_ms))
    .where(tasks.c.dst_node == nodes.c.name, _READY)
    .scalar_subquery(),
).where(nodes.c.session_id.is_(None))
_EXTEND_LEASES = sa.update(tasks).where(_IN_HAND)
_SHORTEN_BACKOFFS = sa.update(tasks).where(_SCHEDULED, tasks.c.not_before_ms > _MOMENT)
_LIVE_COUNTS = sa.select(tasks.c.state, sa.func.count()).where(_LIVE).group_by(tasks.c.state)

_INSERT_ATTEMPT = sa.insert(attempts)
_UPDATE_ATTEMPT = sa.update(attempts).where(
    attempts.c.task_id == sa.bindparam("of_task"), attempts.c.epoch == sa.bindparam("under_epoch")
)


class SqlTasks:
    """`TaskRecords` on one connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, task: Task) -> Task:
        """The task under a new id, whatever its own is."""
        return rows.task_of(self._connection.execute(_INSERT, rows.new_task_values(task)).one())

    def get(self, task_id: int) -> Task | None:
        """The task, if there is one."""
        row = self._connection.execute(_GET, {"key": task_id}).one_or_none()
        return None if row is None else rows.task_of(row)

    def put(self, task: Task) -> None:
        """Replaces the task of that id."""
        self._connection.execute(_UPDATE, rows.task_values(task) | {"key": task.id})

    def set_priority(self, job_id: int, priority: int) -> None:
        """The job's tasks that have not ended are claimed in the order of `priority` from now on."""
        self._connection.execute(_PRIORITISE, {"key": job_id, "priority": priority})

    def live_of_jobs(self, job_ids: Sequence[int]) -> Sequence[Task]:
        """The tasks of these jobs that have not ended."""
        return self._all(_LIVE_OF_JOBS, job_ids=list(job_ids))

    def in_hand(self, node: NodeName) -> Sequence[Task]:
        """The tasks that are leased to any session of `node`."""
        return self._all(_IN_HAND_OF_NODE, node=node)

    def ready(self, node: NodeName, *, limit: int) -> Sequence[Task]:
        """Tasks that `node` may claim: those of the highest priority first, then the longest ready."""
        return self._all(_READY_FOR_NODE, node=node, limit=limit)

    def ready_before(self, node: NodeName, *, ready_at_ms: int, limit: int) -> Sequence[Task]:
        """Those that have been ready since that moment or longer, the longest first."""
        return self._all(_READY_BEFORE, node=node, moment=ready_at_ms, limit=limit)

    def parked_for(self, node: NodeName, *, limit: int) -> Sequence[Task]:
        """Scheduled tasks that wait for `node`."""
        return self._all(_PARKED_FOR_NODE, node=node, limit=limit)

    def due(self, *, now_ms: int, limit: int) -> Sequence[Task]:
        """Scheduled tasks whose backoff is over, longest over first."""
        return self._all(_DUE, moment=now_ms, limit=limit)

    def next_due_ms(self) -> int | None:
        """When the next backoff ends."""
        return self._earliest(_NEXT_DUE)

    def expired(self, *, now_ms: int, limit: int) -> Sequence[Task]:
        """Tasks whose lease is over, longest over first."""
        return self._all(_EXPIRED, moment=now_ms, limit=limit)

    def next_expiry_ms(self) -> int | None:
        """When the next lease ends."""
        return self._earliest(_NEXT_EXPIRY)

    def absences(self) -> Mapping[NodeName, int]:
        """For each unconnected node with ready tasks, since when the first of them has waited for it."""
        return {
            NodeName(name): max(ready_at_ms, disconnected_at_ms)
            for name, disconnected_at_ms, ready_at_ms in self._connection.execute(_ABSENCES)
            if ready_at_ms is not None
        }

    def extend_all(self, *, expires_at_ms: int, due_by_ms: int) -> None:
        """Every lease ends at `expires_at_ms`, and no backoff after `due_by_ms`."""
        self._connection.execute(_EXTEND_LEASES, {"lease_expires_at_ms": expires_at_ms})
        self._connection.execute(_SHORTEN_BACKOFFS, {"not_before_ms": due_by_ms, "moment": due_by_ms})

    def live_counts(self) -> Mapping[str, int]:
        """How many tasks are in each live state that has any."""
        return {row[0]: row[1] for row in self._connection.execute(_LIVE_COUNTS)}

    def _earliest(self, query: sa.Select[Any]) -> int | None:
        earliest: int | None = self._connection.execute(query).scalar_one()
        return earliest

    def _all(self, query: sa.Select[Any], **values: Any) -> Sequence[Task]:
        return [rows.task_of(row) for row in self._connection.execute(query, values)]


class SqlAttempts:
    """`AttemptRecords` on one connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def begin(self, task: Task) -> None:
        """The attempt that `task` has just been claimed for."""
        assert task.lease is not None
        values = {
            "task_id": task.id,
            "epoch": task.epoch,
            "attempt": task.attempt,
            "session_id": task.lease.session_id,
            "boot_id": task.lease.boot_id,
            "begun_at_ms": task.begun_at_ms,
            **rows.transfer_values(task.transfer),
        }
        self._connection.execute(_INSERT_ATTEMPT, values)

    def progress(self, task: Task) -> None:
        """The numbers of the attempt under the task's epoch."""
        values = rows.transfer_values(task.transfer) | {"of_task": task.id, "under_epoch": task.epoch}
        self._connection.execute(_UPDATE_ATTEMPT, values)

    def end(
        self,
        *,
        task_id: int,
        epoch: int,
        outcome: str,
        error: ErrorInfo | None,
        transfer: Transfer,
        now_ms: int,
    ) -> None:
        """How it ended."""
        values = {
            "of_task": task_id,
            "under_epoch": epoch,
            "outcome": outcome,
            "ended_at_ms": now_ms,
            **rows.error_values(error),
            **rows.transfer_values(transfer),
        }
        self._connection.execute(_UPDATE_ATTEMPT, values)
