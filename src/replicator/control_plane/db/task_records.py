"""Tasks and their attempts in SQL. Statements are built once: building one takes longer than running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db import queue_statements, rows
from replicator.control_plane.db.schema import (
    TASK_STATES_LIVE,
    attempt_history,
    attempts,
    is_state,
    jobs,
    nodes,
    task_history,
    tasks,
)
from replicator.control_plane.db.write_behind import WriteBehind
from replicator.control_plane.domain.attempt import Attempt
from replicator.control_plane.domain.task import Task, TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.kernel.names import NodeName
from replicator.wire.sessions import INTEGER_MAX, ErrorInfo

_Bound = sa.BindParameter[Any]
_KEY: _Bound = sa.bindparam("key")
_NODE: _Bound = sa.bindparam("node")
_NODES: _Bound = sa.bindparam("nodes", expanding=True)
_MOMENT: _Bound = sa.bindparam("moment")
_LIMIT: _Bound = sa.bindparam("limit")
_READY = is_state(tasks.c.state, TaskState.READY)
_SCHEDULED = is_state(tasks.c.state, TaskState.SCHEDULED)
_LIVE = is_state(tasks.c.state, *TASK_STATES_LIVE)
_IN_HAND = tasks.c.lease_session_id.is_not(None)
_TASKS = sa.select(tasks)

_GET_MANY = _TASKS.where(tasks.c.id.in_(sa.bindparam("keys", expanding=True)))
_LIVE_OF_JOBS = _TASKS.where(tasks.c.job_id.in_(sa.bindparam("job_ids", expanding=True)), _LIVE).order_by(
    tasks.c.id
)
_IN_HAND_OF_NODE = _TASKS.where(tasks.c.dst_node == _NODE, _IN_HAND).order_by(tasks.c.id)
# As one condition with OR it would look at all that is in hand anywhere.
_LINKS_IN_HAND = sa.union_all(
    *(
        sa.select(tasks.c.src_node, tasks.c.dst_node, sa.func.count())
        .where(condition, _IN_HAND)
        .group_by(tasks.c.src_node, tasks.c.dst_node)
        for condition in (
            tasks.c.dst_node.in_(_NODES),
            sa.and_(tasks.c.src_node.in_(_NODES), tasks.c.dst_node.not_in(_NODES)),
        )
    )
)
_OF_JOB = tuple(
    sa.select(table)
    .where(table.c.job_id == _KEY, table.c.id > sa.bindparam("after"))
    .order_by(table.c.id)
    .limit(_LIMIT)
    for table in (tasks, task_history)
)
_OF_JOB_IN_STATE = tuple(
    query.where(query.selected_columns.state == sa.bindparam("in_state")) for query in _OF_JOB
)
_READY_FOR_NODE = (
    _TASKS.where(tasks.c.dst_node == _NODE, _READY).order_by(tasks.c.rank_ms, tasks.c.id).limit(_LIMIT)
)
_READY_BEFORE = (
    _TASKS.where(tasks.c.dst_node == _NODE, _READY, tasks.c.ready_at_ms <= _MOMENT)
    .order_by(tasks.c.ready_at_ms, tasks.c.id)
    .limit(_LIMIT)
)
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
_READY_SINCE = sa.func.min(
    sa.select(sa.func.min(tasks.c.ready_at_ms))
    .where(tasks.c.dst_node == nodes.c.name, _READY)
    .scalar_subquery()
)
_OLDEST_READY = {
    True: sa.select(_READY_SINCE).where(nodes.c.session_id.is_not(None)),
    False: sa.select(_READY_SINCE).where(nodes.c.session_id.is_(None)),
}
_EXTEND_LEASES = sa.update(tasks).where(_IN_HAND)
_SHORTEN_BACKOFFS = sa.update(tasks).where(_SCHEDULED, tasks.c.not_before_ms > _MOMENT)
_LIVE_COUNTS = sa.select(tasks.c.state, sa.func.count()).where(_LIVE).group_by(tasks.c.state)

_ATTEMPTS_OF_TASK = tuple(
    sa.select(table).where(table.c.task_id == _KEY).order_by(table.c.epoch.desc()).limit(_LIMIT)
    for table in (attempts, attempt_history)
)


class SqlTasks:
    """`TaskRecords` on one connection."""

    def __init__(self, connection: WriteBehind) -> None:
        self._connection = connection
        self._jobs_added_to: set[int] = set()

    def add(self, task: Task) -> Task:
        """The task under a new id, whatever its own is."""
        task = replace(task, id=self._connection.number(tasks))
        self._connection.put_new(rows.TASK, task.id, task)
        self._jobs_added_to.add(task.job_id)
        return task

    def get(self, task_id: int) -> Task | None:
        """The task, if there is one."""
        known = self._connection.known(rows.TASK, task_id)
        return known or self.get_many(frozenset({task_id})).get(task_id)

    def get_many(self, task_ids: frozenset[int]) -> Mapping[int, Task]:
        """Those of `task_ids` that there are."""
        found = {task_id: self._connection.known(rows.TASK, task_id) for task_id in task_ids}
        asked = sorted(task_id for task_id, task in found.items() if task is None)
        if asked:
            read = self._connection.query(_GET_MANY, {"keys": asked}, of=())
            found |= {task.id: task for task in map(self._read, read)}
        return {task_id: task for task_id, task in found.items() if task is not None}

    def put(self, task: Task) -> None:
        """Replaces the task of that id."""
        self._connection.put(rows.TASK, task.id, task)

    def set_priority(self, job_id: int, priority: int) -> None:
        """The job's tasks that have not ended have `priority` from now on, and their ranks move with it."""
        values = {"of_job": job_id, "of_priority": priority}
        self._connection.change(queue_statements.SET_PRIORITY, values, of=tasks)

    def live_of_jobs(self, job_ids: Sequence[int]) -> Sequence[Task]:
        """The tasks of these jobs that have not ended."""
        asked = [job_id for job_id in job_ids if not self._has_none(job_id)]
        return self._all(_LIVE_OF_JOBS, job_ids=asked) if asked else []

    def _has_none(self, job_id: int) -> bool:
        """Whether the job was made in this unit, and no task for it."""
        return self._connection.was_added(jobs, job_id) and job_id not in self._jobs_added_to

    def of_job(
        self, job_id: int, *, after: int, limit: int, state: TaskState | None = None
    ) -> Sequence[Task]:
        """At most `limit` tasks of a job, ended ones too, with ids above `after`, in their order."""
        values: dict[str, Any] = {"key": job_id, "after": after, "limit": limit}
        queries = _OF_JOB
        if state is not None:
            queries, values = _OF_JOB_IN_STATE, values | {"in_state": str(state)}
        # A job that is just being moved to history has tasks in both places, each in one of them.
        found = [task for query in queries for task in self._all(query, **values)]
        return sorted(found, key=lambda task: task.id)[:limit]

    def in_hand(self, node: NodeName) -> Sequence[Task]:
        """The tasks that are leased to any session of `node`."""
        read = map(self._read, self._connection.query(_IN_HAND_OF_NODE, {"node": node}, of=()))
        found = {task.id: task for task in read}
        # What waits is newer than what is there, and stays waiting.
        found |= {task.id: task for _, task in self._connection.waiting(rows.TASK) if task.dst_node == node}
        return [task for _, task in sorted(found.items()) if task.lease is not None]

    def links_in_hand(self, nodes: frozenset[NodeName]) -> Mapping[tuple[NodeName, NodeName], int]:
        """How many tasks are leased on each link, named by source and destination, from or to one of `nodes`."""
        found = self._connection.execute(_LINKS_IN_HAND, {"nodes": sorted(nodes)})
        return {(NodeName(source), NodeName(destination)): count for source, destination, count in found}

    def ready(self, node: NodeName, *, limit: int) -> Sequence[Task]:
        """Ready tasks of `node`, those of the least rank first, then the oldest."""
        if self._has_news_of_ready(node):
            self._connection.flush()
        read = self._connection.query(_READY_FOR_NODE, {"node": node, "limit": limit}, of=())
        return [self._read(row) for row in read]

    def _has_news_of_ready(self, node: NodeName) -> bool:
        return any(
            after.dst_node == node and (before is None or TaskState.READY in {before.state, after.state})
            for before, after in self._connection.waiting(rows.TASK)
        )

    def ready_sources(self, node: NodeName, *, limit: int) -> Sequence[NodeName]:
        """At most `limit` nodes that ready tasks of `node` read from, by name."""
        values = {"node": node, "limit": limit}
        found = self._connection.query(queue_statements.READY_SOURCES, values, of=[tasks])
        return [NodeName(row.name) for row in found]

    def ready_from(self, node: NodeName, rooms: Mapping[NodeName, int]) -> Sequence[Task]:
        """The first ready tasks of `node` from each source in `rooms`, as many as it says, in the order of `ready`."""
        found: list[Task] = []
        names, size = sorted(rooms), queue_statements.SOURCES_AT_ONCE
        for page in (names[start : start + size] for start in range(0, len(names), size)):
            sources = {f"source_{index}": source for index, source in enumerate(page)}
            limits = {f"limit_{index}": rooms[source] for index, source in enumerate(page)}
            query = queue_statements.ready_from(len(page))
            read = self._connection.query(query, {"node": node, **sources, **limits}, of=[tasks])
            found.extend(map(self._read, read))
        return sorted(found, key=lambda task: (task.rank_ms, task.id))

    def failed(self, *, before: int | None, limit: int) -> Sequence[int]:
        """Ids of at most `limit` failed tasks, below `before`, newest first."""
        values = {"before": INTEGER_MAX if before is None else before, "limit": limit}
        return [row.id for row in self._connection.query(queue_statements.FAILED, values, of=[tasks])]

    def dead(self, failed: Sequence[int], *, limit: int) -> Sequence[Task]:
        """At most `limit` of the tasks `failed`, newest first, of jobs that ended partial or failed."""
        values = {"failed": list(failed), "limit": limit}
        found = self._connection.query(queue_statements.DEAD, values, of=[tasks, jobs])
        return [rows.task_of(row) for row in found]

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

    def oldest_ready_ms(self, *, connected: bool) -> int | None:
        """Since when the first of the ready tasks whose node is connected, or is not, has been ready."""
        return self._earliest(_OLDEST_READY[connected])

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
        return [self._read(row) for row in self._connection.query(query, values, of=[tasks])]

    def _read(self, row: rows.AnyRow) -> Task:
        task = rows.task_of(row)
        return self._connection.read(rows.TASK, task.id, task)


class SqlAttempts:
    """`AttemptRecords` on one connection."""

    def __init__(self, connection: WriteBehind) -> None:
        self._connection = connection

    def begin(self, task: Task) -> None:
        """The attempt that `task` has just been claimed for."""
        assert task.lease is not None
        values: rows.Values = {
            "task_id": task.id,
            "epoch": task.epoch,
            "attempt": task.attempt,
            "session_id": task.lease.session_id,
            "boot_id": task.lease.boot_id,
            "begun_at_ms": task.begun_at_ms,
            **rows.transfer_values(task.transfer),
        }
        self._connection.insert(attempts, [values])

    def progress(self, task: Task) -> None:
        """The numbers of the attempt under the task's epoch."""
        self._connection.update(attempts, (task.id, task.epoch), rows.transfer_values(task.transfer))

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
        values: rows.Values = {
            "outcome": outcome,
            "ended_at_ms": now_ms,
            **rows.error_values(error),
            **rows.transfer_values(transfer),
        }
        self._connection.update(attempts, (task_id, epoch), values)

    def of_task(self, task_id: int, *, limit: int) -> Sequence[Attempt]:
        """At most `limit` attempts of a task, the latest first."""
        values = {"key": task_id, "limit": limit}
        found = [row for query in _ATTEMPTS_OF_TASK for row in self._connection.execute(query, values)]
        return [rows.attempt_of(row) for row in found][:limit]
