"""What the services of the control plane need from outside, as contracts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from replicator.control_plane.domain.job import Job, JobState, MigrateSpec
from replicator.control_plane.domain.lease import Session
from replicator.control_plane.domain.node import Node
from replicator.control_plane.domain.task import Task
from replicator.kernel.names import NodeName
from replicator.wire.sessions import ErrorInfo, Transfer

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, told once its transaction is durable: logged, counted, and `wakes` woken.

    `name` is `what.how`.
    """

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    wakes: str | None = None
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

    def add(self, spec: MigrateSpec, *, idempotency_key: str | None, fingerprint: str, now_ms: int) -> Job:
        """A new job, queued."""
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
        """Jobs that are being planned, then those that are queued, oldest first."""
        ...

    def live_of_node(self, name: NodeName, *, limit: int) -> Sequence[int]:
        """Ids of live jobs that have `name` as source or destination, oldest first."""
        ...

    def counts(self) -> Mapping[JobState, int]:
        """How many jobs are in each state that has any."""
        ...


class TaskRecords(Protocol):
    """Tasks, keyed by id. Every list is bounded and found by an index of its own."""

    def add(self, job_id: int, spec: MigrateSpec, *, now_ms: int) -> Task:
        """A new task, ready."""
        ...

    def get(self, task_id: int) -> Task | None:
        """The task, if there is one."""
        ...

    def put(self, task: Task) -> None:
        """Replaces the task of that id."""
        ...

    def live_of_jobs(self, job_ids: Sequence[int]) -> Sequence[Task]:
        """The tasks of these jobs that have not ended."""
        ...

    def in_hand(self, node: NodeName) -> Sequence[Task]:
        """The tasks that are leased to any session of `node`."""
        ...

    def ready(self, node: NodeName, *, limit: int) -> Sequence[Task]:
        """Tasks that `node` may claim, longest ready first."""
        ...

    def ready_before(self, node: NodeName, *, ready_at_ms: int, limit: int) -> Sequence[Task]:
        """Those that have been ready since that moment or longer."""
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
