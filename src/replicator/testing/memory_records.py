"""The control plane's records in memory: what SQL keeps, without a disk, for simulations of many schedules.

Stricter than the ports ask for: an attempt ends once, and an object settles once unless it failed and is tried
again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import JsonValue

from replicator.control_plane.domain import fairness
from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain.attempt import Attempt
from replicator.control_plane.domain.duty import DutyLease
from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.job_event import EVENTS_MAX, JobEvent
from replicator.control_plane.domain.lease import Session
from replicator.control_plane.domain.limits import LinkLimit, NodeLimits
from replicator.control_plane.domain.node import Node
from replicator.control_plane.domain.object_row import Action, ObjectRow, Outcome
from replicator.control_plane.domain.steps import next_step
from replicator.control_plane.domain.task import IN_HAND, TERMINAL, Task, TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.kernel.names import NodeName
from replicator.wire.sessions import ErrorInfo


@dataclass
class Tables:
    """Everything there is."""

    nodes: dict[NodeName, Node] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    tasks: dict[int, Task] = field(default_factory=dict)
    attempts: dict[tuple[int, int], str | None] = field(default_factory=dict)
    attempt_stories: dict[tuple[int, int], Attempt] = field(default_factory=dict)
    objects: dict[tuple[int, int], ObjectRow] = field(default_factory=dict)
    events: dict[int, list[JobEvent]] = field(default_factory=dict)
    node_limits: dict[NodeName, NodeLimits] = field(default_factory=dict)
    links: dict[tuple[NodeName, NodeName], LinkLimit] = field(default_factory=dict)
    duties: dict[str, DutyLease] = field(default_factory=dict)
    job_history: dict[int, Job] = field(default_factory=dict)
    task_history: dict[int, Task] = field(default_factory=dict)
    newest: Counter[str] = field(default_factory=Counter)

    def new_id(self, of: str) -> int:
        """An id that was never given before."""
        self.newest[of] += 1
        return self.newest[of]

    def copy(self) -> Tables:
        """As it is now; the values in it do not change."""
        tables = {name: table.copy() for name, table in vars(self).items()}
        return Tables(**tables | {"events": {job: list(told) for job, told in self.events.items()}})


def _first_ms(moments: Iterable[int | None]) -> int | None:
    return min((moment for moment in moments if moment is not None), default=None)


class MemoryNodes:
    """`NodeRecords`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def get(self, name: NodeName) -> Node | None:
        """See `NodeRecords`."""
        return self._tables.nodes.get(name)

    def get_many(self, names: frozenset[NodeName]) -> Mapping[NodeName, Node]:
        """See `NodeRecords`."""
        return {name: node for name, node in self._tables.nodes.items() if name in names}

    def put(self, node: Node) -> None:
        """See `NodeRecords`."""
        self._tables.nodes[node.name] = node

    def delete(self, name: NodeName) -> None:
        """See `NodeRecords`."""
        tables = self._tables
        tables.nodes.pop(name, None)
        tables.node_limits.pop(name, None)
        tables.sessions = {key: each for key, each in tables.sessions.items() if each.node != name}
        tables.links = {ends: link for ends, link in tables.links.items() if name not in ends}

    def page(self, *, after: str, limit: int) -> Sequence[Node]:
        """See `NodeRecords`."""
        return [node for name, node in sorted(self._tables.nodes.items()) if name > after][:limit]

    def to_join(self, *, now_ms: int, limit: int) -> Sequence[Node]:
        """See `NodeRecords`."""
        due = [node for node in self._tables.nodes.values() if (node.join_at_ms or now_ms + 1) <= now_ms]
        return sorted(due, key=lambda node: node.join_at_ms or 0)[:limit]

    def next_join_ms(self) -> int | None:
        """See `NodeRecords`."""
        return _first_ms(node.join_at_ms for node in self._tables.nodes.values())

    def connected(self, *, limit: int) -> Sequence[Node]:
        """See `NodeRecords`."""
        return [node for _, node in sorted(self._tables.nodes.items()) if node.session_id is not None][:limit]

    def connected_count(self) -> int:
        """See `NodeRecords`."""
        return len(self.connected(limit=self.count()))

    def count(self) -> int:
        """See `NodeRecords`."""
        return len(self._tables.nodes)


class MemorySessions:
    """`SessionRecords`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def get(self, session_id: str) -> Session | None:
        """See `SessionRecords`."""
        return self._tables.sessions.get(session_id)

    def get_many(self, session_ids: frozenset[str]) -> Mapping[str, Session]:
        """See `SessionRecords`."""
        return {key: each for key, each in self._tables.sessions.items() if key in session_ids}

    def put(self, session: Session) -> None:
        """See `SessionRecords`."""
        self._tables.sessions[session.id] = session

    def forget_ended(self, node: NodeName) -> None:
        """See `SessionRecords`."""
        self._tables.sessions = {
            key: each
            for key, each in self._tables.sessions.items()
            if each.node != node or each.ended_at_ms is None
        }

    def expired(self, *, now_ms: int, limit: int) -> Sequence[Session]:
        """See `SessionRecords`."""
        return sorted(
            (each for each in self._open() if each.expires_at_ms <= now_ms),
            key=lambda each: each.expires_at_ms,
        )[:limit]

    def next_expiry_ms(self) -> int | None:
        """See `SessionRecords`."""
        return _first_ms(each.expires_at_ms for each in self._open())

    def extend_all(self, *, expires_at_ms: int) -> int:
        """See `SessionRecords`."""
        extended = [replace(each, expires_at_ms=expires_at_ms) for each in self._open()]
        self._tables.sessions |= {each.id: each for each in extended}
        return len(extended)

    def _open(self) -> list[Session]:
        return [each for each in self._tables.sessions.values() if each.ended_at_ms is None]


class MemoryJobs:
    """`JobRecords`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def add(self, job: Job) -> Job:
        """See `JobRecords`."""
        job = replace(job, id=self._tables.new_id("job"))
        self.put(job)
        return job

    def get(self, job_id: int) -> Job | None:
        """See `JobRecords`."""
        return self._tables.jobs.get(job_id)

    def get_many(self, job_ids: frozenset[int]) -> Mapping[int, Job]:
        """See `JobRecords`."""
        return {job_id: job for job_id in job_ids if (job := self.get(job_id)) is not None}

    def by_idempotency_key(self, key: str) -> Job | None:
        """See `JobRecords`."""
        return next((job for job in self._all() if job.idempotency_key == key), None)

    def put(self, job: Job) -> None:
        """See `JobRecords`."""
        self._tables.jobs[job.id] = job

    def page(self, *, before: int | None, limit: int, state: JobState | None) -> Sequence[Job]:
        """See `JobRecords`."""
        found = [
            job for job in self._all() if (before is None or job.id < before) and state in {None, job.state}
        ]
        return sorted(found, key=lambda job: -job.id)[:limit]

    def to_plan(self, *, limit: int) -> Sequence[Job]:
        """See `JobRecords`."""
        found = [job for job in self._all() if next_step(job) is not None]
        return sorted(found, key=lambda job: (job.plan_rank_ms, job.id))[:limit]

    def dry_run_before(self, job: Job) -> Job | None:
        """See `JobRecords`."""
        found = [
            each
            for each in self._all()
            if each.spec.dry_run and each.id < job.id and each.plan_fingerprint == job.plan_fingerprint
        ]
        return next((each for each in reversed(found) if each.state is JobState.SUCCEEDED), None)

    def limits_to(self, node: NodeName, *, limit: int) -> Mapping[int, int]:
        """See `JobRecords`."""
        limited = [
            (job.id, job.bytes_per_second)
            for job in self._all()
            if job.spec.dst_node == node and job.state in jobs.LIVE and job.bytes_per_second is not None
        ]
        return dict(limited[:limit])

    def live_of_node(self, name: NodeName, *, limit: int) -> Sequence[int]:
        """See `JobRecords`."""
        live = [job for job in self._all() if job.state in jobs.LIVE]
        return [job.id for job in live if name in {job.spec.src_node, job.spec.dst_node}][:limit]

    def to_start(self, *, now_ms: int, limit: int) -> Sequence[Job]:
        """See `JobRecords`."""
        due = [job for job in self._all() if job.postponed and (job.start_at_ms or 0) <= now_ms]
        return sorted(due, key=lambda job: (job.start_at_ms or 0, job.id))[:limit]

    def next_start_ms(self) -> int | None:
        """See `JobRecords`."""
        return _first_ms(job.start_at_ms for job in self._all() if job.postponed)

    def overdue(self, *, now_ms: int, limit: int) -> Sequence[Job]:
        """See `JobRecords`."""
        due = [job for job in self._with_deadline() if (job.deadline_at_ms or 0) <= now_ms]
        return sorted(due, key=lambda job: (job.deadline_at_ms or 0, job.id))[:limit]

    def next_deadline_ms(self) -> int | None:
        """See `JobRecords`."""
        return _first_ms(job.deadline_at_ms for job in self._with_deadline())

    def _with_deadline(self) -> list[Job]:
        live = jobs.LIVE - {JobState.CANCELLING}
        return [job for job in self._all() if job.deadline_at_ms is not None and job.state in live]

    def counts(self) -> Mapping[JobState, int]:
        """See `JobRecords`."""
        return Counter(job.state for job in self._all())

    def _all(self) -> Sequence[Job]:
        return list(self._tables.jobs.values())


class MemoryTasks:
    """`TaskRecords`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def add(self, task: Task) -> Task:
        """See `TaskRecords`."""
        task = replace(task, id=self._tables.new_id("task"))
        self.put(task)
        return task

    def get(self, task_id: int) -> Task | None:
        """See `TaskRecords`."""
        return self._tables.tasks.get(task_id)

    def get_many(self, task_ids: frozenset[int]) -> Mapping[int, Task]:
        """See `TaskRecords`."""
        return {task_id: task for task_id in task_ids if (task := self.get(task_id)) is not None}

    def put(self, task: Task) -> None:
        """See `TaskRecords`."""
        assert (task.lease is not None) == (task.state in IN_HAND)
        self._tables.tasks[task.id] = task

    def set_priority(self, job_id: int, priority: int) -> None:
        """See `TaskRecords`."""
        for task in self.live_of_jobs([job_id]):
            rank_ms = fairness.moved(task.rank_ms, before=task.priority, priority=priority)
            self.put(replace(task, priority=priority, rank_ms=rank_ms))

    def live_of_jobs(self, job_ids: Sequence[int]) -> Sequence[Task]:
        """See `TaskRecords`."""
        return [task for task in self._live() if task.job_id in job_ids]

    def of_job(
        self, job_id: int, *, after: int, limit: int, state: TaskState | None = None
    ) -> Sequence[Task]:
        """See `TaskRecords`."""
        known = [*self._tables.task_history.values(), *self._tables.tasks.values()]
        found = [task for task in known if task.job_id == job_id and task.id > after]
        return sorted((task for task in found if state in {None, task.state}), key=lambda task: task.id)[
            :limit
        ]

    def links_in_hand(self, nodes: frozenset[NodeName]) -> Mapping[tuple[NodeName, NodeName], int]:
        """See `TaskRecords`."""
        leased = [(task.src_node, task.dst_node) for task in self._live() if task.lease is not None]
        return Counter(ends for ends in leased if nodes.intersection(ends))

    def in_hand(self, node: NodeName) -> Sequence[Task]:
        """See `TaskRecords`."""
        return [task for task in self._live() if task.dst_node == node and task.lease is not None]

    def ready(self, node: NodeName, *, limit: int) -> Sequence[Task]:
        """See `TaskRecords`."""
        ready = [task for task in self._in(TaskState.READY) if task.dst_node == node]
        return sorted(ready, key=lambda task: (task.rank_ms, task.id))[: max(limit, 0)]

    def ready_sources(self, node: NodeName, *, limit: int) -> Sequence[NodeName]:
        """See `TaskRecords`."""
        return sorted({task.src_node for task in self._in(TaskState.READY) if task.dst_node == node})[:limit]

    def ready_from(self, node: NodeName, rooms: Mapping[NodeName, int]) -> Sequence[Task]:
        """See `TaskRecords`."""
        ready, taken = self.ready(node, limit=len(self._tables.tasks)), Counter[NodeName]()
        found = []
        for task in ready:
            if taken[task.src_node] < rooms.get(task.src_node, 0):
                taken[task.src_node] += 1
                found.append(task)
        return found

    def failed(self, *, before: int | None, limit: int) -> Sequence[int]:
        """See `TaskRecords`."""
        found = (task.id for task in self._in(TaskState.FAILED) if before is None or task.id < before)
        return sorted(found, reverse=True)[:limit]

    def dead(self, failed: Sequence[int], *, limit: int) -> Sequence[Task]:
        """See `TaskRecords`."""
        ended = {JobState.PARTIAL, JobState.FAILED}
        jobs_ended = {job.id: job for job in self._tables.jobs.values() if job.state in ended}
        found = [
            task
            for task in self._in(TaskState.FAILED)
            if task.job_id in jobs_ended
            and task.updated_at_ms > (jobs_ended[task.job_id].retried_at_ms or -1)
            and task.id in failed
        ]
        return sorted(found, key=lambda task: -task.id)[:limit]

    def ready_before(self, node: NodeName, *, ready_at_ms: int, limit: int) -> Sequence[Task]:
        """See `TaskRecords`."""
        ready = [task for task in self._in(TaskState.READY) if task.dst_node == node]
        waited = [task for task in ready if task.ready_at_ms <= ready_at_ms]
        return sorted(waited, key=lambda task: (task.ready_at_ms, task.id))[:limit]

    def parked_for(self, node: NodeName, *, limit: int) -> Sequence[Task]:
        """See `TaskRecords`."""
        return [task for task in self._in(TaskState.SCHEDULED) if task.parked_for == node][:limit]

    def due(self, *, now_ms: int, limit: int) -> Sequence[Task]:
        """See `TaskRecords`."""
        due = [task for task in self._in(TaskState.SCHEDULED) if (task.not_before_ms or 0) <= now_ms]
        return sorted(due, key=lambda task: task.not_before_ms or 0)[:limit]

    def next_due_ms(self) -> int | None:
        """See `TaskRecords`."""
        return _first_ms(task.not_before_ms for task in self._in(TaskState.SCHEDULED))

    def expired(self, *, now_ms: int, limit: int) -> Sequence[Task]:
        """See `TaskRecords`."""
        leased = [(task.lease.expires_at_ms, task) for task in self._live() if task.lease is not None]
        over = [(end_ms, task) for end_ms, task in leased if end_ms <= now_ms]
        return [task for _, task in sorted(over, key=lambda each: each[0])][:limit]

    def next_expiry_ms(self) -> int | None:
        """See `TaskRecords`."""
        return _first_ms(task.lease.expires_at_ms for task in self._live() if task.lease is not None)

    def absences(self) -> Mapping[NodeName, int]:
        """See `TaskRecords`."""
        found: dict[NodeName, int] = {}
        for node in self._tables.nodes.values():
            waiting = [task.ready_at_ms for task in self._in(TaskState.READY) if task.dst_node == node.name]
            if node.session_id is None and waiting:
                found[node.name] = max(min(waiting), node.disconnected_at_ms or 0)
        return found

    def oldest_ready_ms(self, *, connected: bool) -> int | None:
        """See `TaskRecords`."""
        nodes = {
            each.name for each in self._tables.nodes.values() if (each.session_id is not None) is connected
        }
        waiting = [task.ready_at_ms for task in self._in(TaskState.READY) if task.dst_node in nodes]
        return min(waiting, default=None)

    def extend_all(self, *, expires_at_ms: int, due_by_ms: int) -> None:
        """See `TaskRecords`."""
        for task in self._live():
            if task.lease is not None:
                self.put(replace(task, lease=replace(task.lease, expires_at_ms=expires_at_ms)))
        for task in self._in(TaskState.SCHEDULED):
            if (task.not_before_ms or 0) > due_by_ms:
                self.put(replace(task, not_before_ms=due_by_ms))

    def live_counts(self) -> Mapping[str, int]:
        """See `TaskRecords`."""
        return Counter(str(task.state) for task in self._live())

    def _live(self) -> list[Task]:
        return [task for task in self._tables.tasks.values() if task.state not in TERMINAL]

    def _in(self, state: TaskState) -> list[Task]:
        return [task for task in self._tables.tasks.values() if task.state is state]


class MemoryAttempts:
    """`AttemptRecords`."""

    def __init__(self, tables: Tables, *, now_ms: int) -> None:
        self._attempts = tables.attempts
        self._stories = tables.attempt_stories
        self._now_ms = now_ms

    def begin(self, task: Task) -> None:
        """See `AttemptRecords`."""
        key = task.id, task.epoch
        assert key not in self._attempts, "an epoch was given twice"
        assert task.lease is not None
        self._attempts[key] = None
        self._stories[key] = Attempt(
            task_id=task.id,
            epoch=task.epoch,
            attempt=task.attempt,
            session_id=task.lease.session_id,
            boot_id=task.lease.boot_id,
            begun_at_ms=task.begun_at_ms or self._now_ms,
            transfer=task.transfer,
        )

    def progress(self, task: Task) -> None:
        """See `AttemptRecords`."""
        key = task.id, task.epoch
        assert self._attempts[key] is None, "an attempt that has ended makes progress"
        self._stories[key] = replace(self._stories[key], transfer=task.transfer)

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
        """See `AttemptRecords`."""
        key = task_id, epoch
        assert self._attempts[key] is None, "an attempt has ended twice"
        self._attempts[key] = outcome
        self._stories[key] = replace(
            self._stories[key], outcome=outcome, error=error, transfer=transfer, ended_at_ms=now_ms
        )

    def of_task(self, task_id: int, *, limit: int) -> Sequence[Attempt]:
        """See `AttemptRecords`."""
        found = [each for (task, _), each in self._stories.items() if task == task_id]
        return sorted(found, key=lambda each: -each.epoch)[:limit]


class MemoryObjects:
    """`ObjectRows`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def add_many(self, rows: Sequence[ObjectRow]) -> None:
        """See `ObjectRows`."""
        for row in rows:
            assert (row.job_id, row.id) not in self._tables.objects
            self._tables.objects[row.job_id, row.id] = row

    def put_many(self, rows: Sequence[ObjectRow]) -> None:
        """See `ObjectRows`."""
        for row in rows:
            before = self._tables.objects[row.job_id, row.id]
            retried = (before.outcome, row.outcome) == (Outcome.FAILED, Outcome.PENDING)
            assert before.outcome is Outcome.PENDING or retried, f"settled twice: {before} and {row}"
            self._tables.objects[row.job_id, row.id] = row

    def give(self, batch: Sequence[ObjectRow], task: Task) -> None:
        """See `ObjectRows`."""
        nothing: dict[str, Any] = {"bytes_transferred": 0, "bytes_deduplicated": 0, "bytes_saved": 0}
        self.put_many([replace(row, task_id=task.id, **nothing) for row in batch])

    def page(
        self, job_id: int, *, after_row: int, limit: int, outcome: Outcome | None = None
    ) -> Sequence[ObjectRow]:
        """See `ObjectRows`."""
        found = [row for row in self._of(job_id) if row.id > after_row and outcome in {None, row.outcome}]
        return found[:limit]

    def pending_of(self, task: Task, *, limit: int | None = None) -> Sequence[ObjectRow]:
        """See `ObjectRows`."""
        rows = self._of(task.job_id)
        return [row for row in rows if row.task_id == task.id and row.outcome is Outcome.PENDING][:limit]

    def pending_of_many(self, tasks: Sequence[Task]) -> Mapping[int, Sequence[ObjectRow]]:
        """See `ObjectRows`."""
        return {task.id: self.pending_of(task) for task in tasks}

    def end(self, task: Task, outcome: Outcome, *, error: ErrorInfo | None) -> None:
        """See `ObjectRows`."""
        rows = self.pending_of(task)
        self.put_many([replace(row, outcome=outcome, error=error or row.error) for row in rows])

    def unassigned(self, job_id: int, *, action: Action, limit: int) -> Sequence[ObjectRow]:
        """See `ObjectRows`."""
        pending = [row for row in self._of(job_id) if row.outcome is Outcome.PENDING and row.task_id is None]
        return [row for row in pending if row.action is action][:limit]

    def count_attempt(self, task: Task) -> None:
        """See `ObjectRows`."""
        self.put_many([replace(row, attempts=row.attempts + 1) for row in self.pending_of(task)])

    def brought(self, manifests: frozenset[str]) -> frozenset[str]:
        """See `ObjectRows`."""
        arrived = {Outcome.VERIFIED, Outcome.SKIPPED}
        found = (row.manifest for row in self._tables.objects.values() if row.outcome in arrived)
        return manifests & frozenset(manifest for manifest in found if manifest is not None)

    def holders(self, manifests: Sequence[str], *, limit: int) -> Sequence[NodeName]:
        """See `ObjectRows`."""
        arrived = {Outcome.VERIFIED, Outcome.SKIPPED}
        brought_by = {
            row.job_id
            for row in self._tables.objects.values()
            if row.outcome in arrived and row.manifest in manifests
        }
        known = self._tables.jobs | self._tables.job_history
        return sorted({known[job_id].spec.dst_node for job_id in brought_by})[:limit]

    def _of(self, job_id: int) -> list[ObjectRow]:
        """Rows are only ever added with growing ids, so they lie in their order."""
        return [row for (job, _), row in self._tables.objects.items() if job == job_id]


class MemoryEvents:
    """`EventRecords`."""

    def __init__(self, tables: Tables, *, now_ms: int) -> None:
        self._events = tables.events
        self._now_ms = now_ms

    def append(self, job_id: int, name: str, *fields: Mapping[str, JsonValue]) -> None:
        """See `EventRecords`."""
        told = self._events.setdefault(job_id, [])
        for each in fields:
            event_id = told[-1].id + 1 if told else 1
            told.append(JobEvent(id=event_id, job_id=job_id, at_ms=self._now_ms, name=name, fields=each))
        del told[:-EVENTS_MAX]

    def after(self, job_id: int, *, event_id: int, limit: int) -> Sequence[JobEvent]:
        """See `EventRecords`."""
        return [event for event in self._events.get(job_id, []) if event.id > event_id][:limit]


class MemoryDuties:
    """`DutyRecords`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def get(self, name: str) -> DutyLease | None:
        """See `DutyRecords`."""
        return self._tables.duties.get(name)

    def put(self, lease: DutyLease) -> None:
        """See `DutyRecords`."""
        self._tables.duties[lease.name] = lease

    def all(self) -> Sequence[DutyLease]:
        """See `DutyRecords`."""
        return [lease for _, lease in sorted(self._tables.duties.items())]

    def writers(self, *, limit: int) -> Sequence[tuple[str, int]]:  # noqa: ARG002 - there are none
        """See `DutyRecords`."""
        return []


class MemoryLimits:
    """`LimitRecords`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def of_node(self, node: NodeName) -> NodeLimits:
        """See `LimitRecords`."""
        return self._tables.node_limits.get(node, NodeLimits())

    def of_nodes(self, nodes: frozenset[NodeName]) -> Mapping[NodeName, NodeLimits]:
        """See `LimitRecords`."""
        return {name: limits for name, limits in self._tables.node_limits.items() if name in nodes}

    def set_node(self, node: NodeName, limits: NodeLimits) -> None:
        """See `LimitRecords`."""
        self._tables.node_limits[node] = limits

    def link(self, *, src_node: NodeName, dst_node: NodeName) -> LinkLimit | None:
        """See `LimitRecords`."""
        return self._tables.links.get((src_node, dst_node))

    def links_to(self, node: NodeName, *, limit: int) -> Sequence[LinkLimit]:
        """See `LimitRecords`."""
        return [link for (_, dst), link in sorted(self._tables.links.items()) if dst == node][:limit]

    def links_from(self, sources: frozenset[NodeName], *, dst_node: NodeName) -> Sequence[LinkLimit]:
        """See `LimitRecords`."""
        found = (self._tables.links.get((source, dst_node)) for source in sorted(sources))
        return [link for link in found if link is not None]

    def links(self, *, after: tuple[str, str], limit: int) -> Sequence[LinkLimit]:
        """See `LimitRecords`."""
        return [link for ends, link in sorted(self._tables.links.items()) if ends > after][:limit]

    def set_link(self, link: LinkLimit) -> None:
        """See `LimitRecords`."""
        self._tables.links.pop((link.src_node, link.dst_node), None)
        if link.bytes_per_s is not None or link.tasks_max is not None:
            self._tables.links[link.src_node, link.dst_node] = link
