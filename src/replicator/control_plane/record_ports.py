"""What is kept of nodes and jobs, as contracts; `ports` has what else the services need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import JsonValue

from replicator.control_plane.domain.attempt import Attempt
from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.job_event import JobEvent
from replicator.control_plane.domain.lease import Session
from replicator.control_plane.domain.node import Node
from replicator.control_plane.domain.object_row import Action, ObjectRow, Outcome
from replicator.control_plane.domain.task import Task, TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.kernel.names import NodeName
from replicator.wire.sessions import ErrorInfo


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
    """Jobs that are not in history, keyed by an id that grows from 1 and is never given twice."""

    def add(self, job: Job) -> Job:
        """The job under a new id, whatever its own is."""
        ...

    def get(self, job_id: int) -> Job | None:
        """The job, if there is one."""
        ...

    def get_many(self, job_ids: frozenset[int]) -> Mapping[int, Job]:
        """Those of `job_ids` that there are."""
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
        """Jobs that the planner is to look at, in the order of `plan_rank_ms`, then the oldest."""
        ...

    def dry_run_before(self, job: Job) -> Job | None:
        """The latest dry run of the same plan that was submitted before `job` and has succeeded.

        One that is in history is too old to promise anything, and not found.
        """
        ...

    def limits_to(self, node: NodeName, *, limit: int) -> Mapping[int, int]:
        """Bytes a second of at most `limit` live jobs to `node` that have a limit, by id."""
        ...

    def live_of_node(self, name: NodeName, *, limit: int) -> Sequence[int]:
        """Ids of live jobs that have `name` as source or destination, oldest first."""
        ...

    def to_start(self, *, now_ms: int, limit: int) -> Sequence[Job]:
        """Postponed jobs whose start has come, longest due first."""
        ...

    def next_start_ms(self) -> int | None:
        """When the next postponed job is due to begin."""
        ...

    def overdue(self, *, now_ms: int, limit: int) -> Sequence[Job]:
        """Live jobs whose deadline has come and that are not being cancelled, longest due first."""
        ...

    def next_deadline_ms(self) -> int | None:
        """When the next such job is due."""
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

    def get_many(self, task_ids: frozenset[int]) -> Mapping[int, Task]:
        """Those of `task_ids` that there are."""
        ...

    def put(self, task: Task) -> None:
        """Replaces the task of that id."""
        ...

    def set_priority(self, job_id: int, priority: int) -> None:
        """The job's tasks that have not ended have `priority` from now on, and their ranks move with it."""
        ...

    def live_of_jobs(self, job_ids: Sequence[int]) -> Sequence[Task]:
        """The tasks of these jobs that have not ended."""
        ...

    def of_job(
        self, job_id: int, *, after: int, limit: int, state: TaskState | None = None
    ) -> Sequence[Task]:
        """At most `limit` tasks of a job, ended ones too, with ids above `after`, in their order."""
        ...

    def in_hand(self, node: NodeName) -> Sequence[Task]:
        """The tasks that are leased to any session of `node`."""
        ...

    def links_in_hand(self, nodes: frozenset[NodeName]) -> Mapping[tuple[NodeName, NodeName], int]:
        """How many tasks are leased on each link, named by source and destination, from or to one of `nodes`."""
        ...

    def ready(self, node: NodeName, *, limit: int) -> Sequence[Task]:
        """Ready tasks of `node`, those of the least rank first, then the oldest."""
        ...

    def ready_sources(self, node: NodeName, *, limit: int) -> Sequence[NodeName]:
        """At most `limit` nodes that ready tasks of `node` read from, by name; no more is read for many tasks."""
        ...

    def ready_from(self, node: NodeName, rooms: Mapping[NodeName, int]) -> Sequence[Task]:
        """The first ready tasks of `node` from each source in `rooms`, as many as it says, in the order of `ready`."""
        ...

    def failed(self, *, before: int | None, limit: int) -> Sequence[int]:
        """Ids of at most `limit` failed tasks, below `before`, newest first."""
        ...

    def dead(self, failed: Sequence[int], *, limit: int) -> Sequence[Task]:
        """At most `limit` of the tasks `failed`, newest first, of jobs that ended partial or failed.

        Those that had ended when their job was last tried again are not among them.
        """
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

    def oldest_ready_ms(self, *, connected: bool) -> int | None:
        """Since when the first of the ready tasks whose node is connected, or is not, has been ready."""
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

    def of_task(self, task_id: int, *, limit: int) -> Sequence[Attempt]:
        """At most `limit` attempts of a task, the latest first."""
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

    def pending_of_many(self, tasks: Sequence[Task]) -> Mapping[int, Sequence[ObjectRow]]:
        """What `pending_of` gives for each of `tasks`, by its id. Asked for so, it is read at once for all."""
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

    def brought(self, manifests: frozenset[str]) -> frozenset[str]:
        """Those of `manifests` that some job has brought somewhere."""
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
