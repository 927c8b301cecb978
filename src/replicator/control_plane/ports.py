"""What the services of the control plane need from outside, as contracts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from pydantic import JsonValue

from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.job_event import JobEvent
from replicator.control_plane.domain.lease import Session
from replicator.control_plane.domain.limits import LinkLimit, NodeLimits
from replicator.control_plane.domain.node import Node
from replicator.control_plane.domain.object_row import Action, ObjectRow, Outcome
from replicator.control_plane.domain.task import Task
from replicator.kernel.names import NodeName
from replicator.wire.sessions import ErrorInfo, Transfer

Answer = TypeVar("Answer")

SCHEDULER_TOPIC = "*scheduler*"
"""Woken when there is something to plan. No node can have that name."""
_JOB_TOPICS = 1024


def job_topic(job_id: int) -> str:
    """Woken when something has happened to the job, and sometimes for another: the topics are bounded."""
    return f"*job-{job_id % _JOB_TOPICS}*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, told once its transaction is durable: logged, counted, and `wakes` woken.

    `name` is `what.how`; `wakes` are topics: names of nodes, `SCHEDULER_TOPIC`, `job_topic`.
    """

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    wakes: Sequence[str] = ()
    level: Literal["debug", "info", "warning"] = "info"


class NodeRecords(Protocol):
    """Nodes, keyed by name."""

    def get(self, name: NodeName) -> Node | None:
        """The node, if it is known."""
        ...

    def get_many(self, names: frozenset[NodeName]) -> Mapping[NodeName, Node]:
        """Those of `names` that are known."""
        ...

    def put(self, node: Node) -> None:
        """Adds it, or replaces the one of that name."""
        ...

    def delete(self, name: NodeName) -> None:
        """Removes it with its sessions; no error if it is not there."""
        ...

    def page(self, *, after: str, limit: int) -> Sequence[Node]:
        """At most `limit` nodes with names above `after`, in their order."""
        ...

    def to_join(self, *, now_ms: int, limit: int) -> Sequence[Node]:
        """Nodes without a session whose time to be told to join has come, longest due first."""
        ...

    def next_join_ms(self) -> int | None:
        """When the next node is due to be told."""
        ...

    def connected(self, *, limit: int) -> Sequence[Node]:
        """At most `limit` nodes that have a session, by name."""
        ...

    def connected_count(self) -> int:
        """How many have a session."""
        ...

    def count(self) -> int:
        """How many there are."""
        ...


class SessionRecords(Protocol):
    """Sessions, keyed by id."""

    def get(self, session_id: str) -> Session | None:
        """The session, live or not, if it is still known."""
        ...

    def get_many(self, session_ids: frozenset[str]) -> Mapping[str, Session]:
        """Those of `session_ids` that are known."""
        ...

    def put(self, session: Session) -> None:
        """Adds it, or replaces the one of that id."""
        ...

    def forget_ended(self, node: NodeName) -> None:
        """Removes the sessions of `node` that have ended."""
        ...

    def expired(self, *, now_ms: int, limit: int) -> Sequence[Session]:
        """Sessions that nobody ended but whose time is over, longest over first."""
        ...

    def next_expiry_ms(self) -> int | None:
        """When the next session that has not ended will expire."""
        ...

    def extend_all(self, *, expires_at_ms: int) -> int:
        """Every session that has not ended expires then; returns how many there are."""
        ...


class JobRecords(Protocol):
    """Jobs, keyed by an id that grows from 1 and is never given twice."""

    def add(self, job: Job) -> Job:
        """The job under a new id, whatever its own is."""
        ...

    def get(self, job_id: int) -> Job | None:
        """The job, if there is one."""
        ...

    def by_idempotency_key(self, key: str) -> Job | None:
        """The job that was submitted under `key`."""
        ...

    def put(self, job: Job) -> None:
        """Replaces the job of that id."""
        ...

    def page(self, *, before: int | None, limit: int, state: JobState | None) -> Sequence[Job]:
        """At most `limit` jobs with ids below `before`, newest first."""
        ...

    def to_plan(self, *, limit: int) -> Sequence[Job]:
        """Jobs that the planner is to look at, those of the highest priority first, then the oldest."""
        ...

    def dry_run_before(self, job: Job) -> Job | None:
        """The latest dry run of the same plan that was submitted before `job` and has succeeded."""
        ...

    def limits_to(self, node: NodeName, *, limit: int) -> Mapping[int, int]:
        """Bytes a second of at most `limit` live jobs to `node` that have a limit, by id."""
        ...

    def live_of_node(self, name: NodeName, *, limit: int) -> Sequence[int]:
        """Ids of live jobs that have `name` as source or destination, oldest first."""
        ...

    def counts(self) -> Mapping[JobState, int]:
        """How many jobs are in each state that has any."""
        ...


class TaskRecords(Protocol):
    """Tasks, keyed by id. Every list is bounded and found by an index of its own."""

    def add(self, task: Task) -> Task:
        """The task under a new id, whatever its own is."""
        ...

    def get(self, task_id: int) -> Task | None:
        """The task, if there is one."""
        ...

    def put(self, task: Task) -> None:
        """Replaces the task of that id."""
        ...

    def set_priority(self, job_id: int, priority: int) -> None:
        """The job's tasks that have not ended are claimed in the order of `priority` from now on."""
        ...

    def live_of_jobs(self, job_ids: Sequence[int]) -> Sequence[Task]:
        """The tasks of these jobs that have not ended."""
        ...

    def in_hand(self, node: NodeName) -> Sequence[Task]:
        """The tasks that are leased to any session of `node`."""
        ...

    def ready(self, node: NodeName, *, limit: int) -> Sequence[Task]:
        """Tasks that `node` may claim: those of the highest priority first, then the longest ready."""
        ...

    def ready_before(self, node: NodeName, *, ready_at_ms: int, limit: int) -> Sequence[Task]:
        """Those that have been ready since that moment or longer, the longest first."""
        ...

    def parked_for(self, node: NodeName, *, limit: int) -> Sequence[Task]:
        """Scheduled tasks that wait for `node`."""
        ...

    def due(self, *, now_ms: int, limit: int) -> Sequence[Task]:
        """Scheduled tasks whose backoff is over, longest over first."""
        ...

    def next_due_ms(self) -> int | None:
        """When the next backoff ends."""
        ...

    def expired(self, *, now_ms: int, limit: int) -> Sequence[Task]:
        """Tasks whose lease is over, longest over first."""
        ...

    def next_expiry_ms(self) -> int | None:
        """When the next lease ends."""
        ...

    def absences(self) -> Mapping[NodeName, int]:
        """For each unconnected node with ready tasks, since when the first of them has waited for it."""
        ...

    def extend_all(self, *, expires_at_ms: int, due_by_ms: int) -> None:
        """Every lease ends at `expires_at_ms`, and no backoff after `due_by_ms`."""
        ...

    def live_counts(self) -> Mapping[str, int]:
        """How many tasks are in each live state that has any."""
        ...


class AttemptRecords(Protocol):
    """Attempts, keyed by task and epoch: the history of a task."""

    def begin(self, task: Task) -> None:
        """The attempt that `task` has just been claimed for."""
        ...

    def progress(self, task: Task) -> None:
        """The numbers of the attempt under the task's epoch."""
        ...

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
        ...


class ObjectRows(Protocol):
    """Objects of jobs, keyed by job and row. Every list is in the order of rows and bounded by its caller."""

    def add_many(self, rows: Sequence[ObjectRow]) -> None:
        """New rows; their ids must follow those that their jobs have."""
        ...

    def put_many(self, rows: Sequence[ObjectRow]) -> None:
        """Replaces the rows of those jobs and ids, but for what they are about, which stays."""
        ...

    def give(self, batch: Sequence[ObjectRow], task: Task) -> None:
        """`task` is to deal with `batch`, pending rows of its job in their order; what came for them before is
        its credit and no longer theirs."""
        ...

    def page(
        self, job_id: int, *, after_row: int, limit: int, outcome: Outcome | None = None
    ) -> Sequence[ObjectRow]:
        """At most `limit` rows of a job that follow `after_row`, of that outcome or of any."""
        ...

    def pending_of(self, task: Task, *, limit: int | None = None) -> Sequence[ObjectRow]:
        """The rows that `task` has still to deal with, or the first of them; a task has few."""
        ...

    def end(self, task: Task, outcome: Outcome, *, error: ErrorInfo | None) -> None:
        """The rows that `task` has still to deal with end so; an error of None leaves each its own."""
        ...

    def unassigned(self, job_id: int, *, action: Action, limit: int) -> Sequence[ObjectRow]:
        """The first pending rows of a job that no task is to deal with."""
        ...

    def count_attempt(self, task: Task) -> None:
        """The rows that `task` has still to deal with are part of one attempt more."""
        ...

    def holders(self, manifests: Sequence[str], *, limit: int) -> Sequence[NodeName]:
        """At most `limit` nodes to which some job has brought one of `manifests`; a hint, not a promise."""
        ...


class EventRecords(Protocol):
    """What happened to jobs, keyed by job and event. The latest `EVENTS_MAX` of each job are kept."""

    def append(self, job_id: int, name: str, *fields: Mapping[str, JsonValue]) -> None:
        """An event called `name` for each of `fields`, now."""
        ...

    def after(self, job_id: int, *, event_id: int, limit: int) -> Sequence[JobEvent]:
        """At most `limit` events of a job that follow `event_id` (0 for the first), in their order."""
        ...


class LimitRecords(Protocol):
    """Bandwidth limits of nodes and links. Those of a node that is removed go with it."""

    def of_node(self, node: NodeName) -> NodeLimits:
        """The node's own; without any where none were set."""
        ...

    def of_nodes(self, nodes: frozenset[NodeName]) -> Mapping[NodeName, NodeLimits]:
        """Those of `nodes` that have any."""
        ...

    def set_node(self, node: NodeName, limits: NodeLimits) -> None:
        """Replaces the node's own. The node must be known."""
        ...

    def link(self, *, src_node: NodeName, dst_node: NodeName) -> LinkLimit | None:
        """The limit of a link, if it has one."""
        ...

    def links_to(self, node: NodeName, *, limit: int) -> Sequence[LinkLimit]:
        """At most `limit` links into `node` that are limited, by source."""
        ...

    def links(self, *, after: tuple[str, str], limit: int) -> Sequence[LinkLimit]:
        """At most `limit` links that are limited and follow `after`, by source and destination."""
        ...

    def set_link(self, *, src_node: NodeName, dst_node: NodeName, bytes_per_s: int | None) -> None:
        """Replaces the limit of a link; None removes it. Both nodes must be known."""
        ...


class Unit(Protocol):
    """The records as one transaction sees them.

    `now_ms` is database time in milliseconds, the same throughout the unit. Events noted are told after the
    commit, and dropped if the unit fails.
    """

    @property
    def now_ms(self) -> int:
        """Database time."""
        ...

    @property
    def control_plane(self) -> str:
        """A random name made with the database: task ids and epochs mean nothing under another one."""
        ...

    @property
    def nodes(self) -> NodeRecords:
        """The nodes."""
        ...

    @property
    def sessions(self) -> SessionRecords:
        """The sessions."""
        ...

    @property
    def jobs(self) -> JobRecords:
        """The jobs."""
        ...

    @property
    def tasks(self) -> TaskRecords:
        """The tasks."""
        ...

    @property
    def attempts(self) -> AttemptRecords:
        """The attempts."""
        ...

    @property
    def objects(self) -> ObjectRows:
        """The objects of jobs."""
        ...

    @property
    def events(self) -> EventRecords:
        """What happened to jobs."""
        ...

    @property
    def limits(self) -> LimitRecords:
        """Bandwidth limits."""
        ...

    def note(self, event: Event) -> None:
        """Tell `event` once the unit is durable."""
        ...


class Database(Protocol):
    """The one door to the control plane's state.

    `work` is synchronous and may be run again from the start, so it has no effect but through its unit. It
    sees every unit committed before it began, and units that write take effect one after another.
    """

    async def transact(self, work: Callable[[Unit], Answer]) -> Answer:
        """Run `work`; returns what it returns once that is durable.

        What `work` raises undoes the unit, and only that, and is raised here.

        Raises:
            Unavailable: too much is waiting, or the disk refuses; nothing of the unit took effect.
        """
        ...

    async def read(self, work: Callable[[Unit], Answer]) -> Answer:
        """Run `work`, which must not write, on a consistent view. Does not wait for writers.

        Raises:
            Unavailable: too much is waiting.
        """
        ...

    async def check(self) -> str:
        """The schema's revision, read from the database.

        Raises:
            Unavailable: the database does not answer, or its schema is not the one of this release.
        """
        ...


class Joiner(Protocol):
    """Tells nodes which control plane to join."""

    async def ask(self, *, node: NodeName, base_url: str) -> None:
        """Tell the node at `base_url`; returns once it has agreed, within a deadline of a few seconds.

        Raises:
            PeerUnreachable: nothing answers there, or not in time.
            Conflict: what answers goes by another name, or refuses; `data["node"]` is its name, if told.
            BrokenPeer: what answers is no node.
        """
        ...
