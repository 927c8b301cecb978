"""What the services of the control plane need from outside, as contracts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from replicator.control_plane.domain.duty import DutyLease
from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.limits import LinkLimit, NodeLimits
from replicator.control_plane.domain.task import Task
from replicator.control_plane.record_ports import (
    AttemptRecords,
    EventRecords,
    JobRecords,
    NodeRecords,
    ObjectRows,
    SessionRecords,
    TaskRecords,
)
from replicator.kernel.names import NodeName

Answer = TypeVar("Answer")

SCHEDULER_TOPIC = "*scheduler*"
"""Woken when there is something to plan. No node can have that name."""
_JOB_TOPICS = 1024


def source_topic(node: NodeName) -> str:
    """Woken when there may be room for another task that reads from the node. No node can have that name."""
    return f"*from-{node}*"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """What one page of moving or pruning has dealt with: whole jobs, and rows that belong to jobs."""

    jobs: int = 0
    rows: int = 0


class HistoryRecords(Protocol):
    """Jobs that ended a while ago, with their tasks and attempts, keyed by the ids that they always had.

    Their objects and events are where they were. Nothing here changes; it is added by `move` and removed by
    `prune`. Of a job that is being moved the first tasks are here already, while its row is still in `JobRecords`.
    """

    def get(self, job_id: int) -> Job | None:
        """The job, if it is in history."""
        ...

    def by_idempotency_key(self, key: str) -> Job | None:
        """The job in history that was submitted under `key`."""
        ...

    def page(self, *, before: int | None, above: int, limit: int, state: JobState | None) -> Sequence[Job]:
        """At most `limit` jobs with ids below `before` and above `above`, newest first."""
        ...

    def task(self, task_id: int) -> Task | None:
        """The task, if it is in history."""
        ...

    def holds_tasks_of(self, job_id: int) -> bool:
        """Whether any task of the job is in history."""
        ...

    def first_end_to_move_ms(self) -> int | None:
        """When the first of the ended jobs that are not in history ended."""
        ...

    def first_end_ms(self) -> int | None:
        """When the first of the jobs in history ended."""
        ...

    def move(self, *, ended_by_ms: int, jobs_max: int, tasks_max: int) -> Gone:
        """Moves jobs here that had ended by then, longest ended first, with at most `tasks_max` tasks in all.

        A job with more moves by itself, a page of tasks with each call in the order of their ids, and its row with
        the last page. Each call that finds such a job moves something.
        """
        ...

    def prune(self, *, ended_by_ms: int, jobs_max: int, rows_max: int) -> Gone:
        """Removes jobs from here that had ended by then, longest ended first, with all that is kept of them.

        At most `rows_max` tasks, attempts, objects and events in all; a job's row goes after everything else.
        """
        ...


class UpkeepRecords(Protocol):
    """What the database notes of its own working, so that replicas know of each other."""

    def first_wake_ms(self) -> int | None:
        """When the first of the wakes that are kept was noted."""
        ...

    def forget_wakes(self, *, by_ms: int, limit: int) -> int:
        """Removes at most `limit` that were noted by then, the first first; returns how many."""
        ...

    def first_writer_ms(self) -> int | None:
        """When the writer that has been silent for longest wrote."""
        ...

    def forget_writers(self, *, by_ms: int) -> int:
        """Removes the writers that have not written since then; returns how many."""
        ...

    def renew_identity(self) -> str:
        """Another `Unit.control_plane` from the next unit on; returns it."""
        ...

    def history_from_ms(self) -> int | None:
        """Jobs that ended before are kept as if they had ended then; None where nothing is said of it."""
        ...


class LimitRecords(Protocol):
    """Limits of nodes and links. Those of a node that is removed go with it."""

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

    def links_from(self, sources: frozenset[NodeName], *, dst_node: NodeName) -> Sequence[LinkLimit]:
        """The links from any of `sources` into `dst_node` that are limited."""
        ...

    def links(self, *, after: tuple[str, str], limit: int) -> Sequence[LinkLimit]:
        """At most `limit` links that are limited and follow `after`, by source and destination."""
        ...

    def set_link(self, link: LinkLimit) -> None:
        """Replaces the limits of a link; one without any is removed. Both nodes must be known."""
        ...


class DutyRecords(Protocol):
    """The leases of duties, keyed by name, and which replicas there are. See `domain.duty`."""

    def get(self, name: str) -> DutyLease | None:
        """The lease of that name, live or not, if anybody ever had it."""
        ...

    def put(self, lease: DutyLease) -> None:
        """Adds it, or replaces the one of that name."""
        ...

    def all(self) -> Sequence[DutyLease]:
        """Every lease there is, by name."""
        ...

    def writers(self, *, limit: int) -> Sequence[tuple[str, int]]:
        """At most `limit` replicas that have written, and when they last did, the latest first.

        Where no other process can have the database there are none.
        """
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
    def history(self) -> HistoryRecords:
        """Jobs that ended a while ago."""
        ...

    @property
    def upkeep(self) -> UpkeepRecords:
        """What the database notes of its own working."""
        ...

    @property
    def duties(self) -> DutyRecords:
        """The leases of duties."""
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
            Unavailable: too much is waiting, the database refuses, or it is away for longer than a caller is kept
                waiting; nothing of the unit took effect, but where the database was lost while it committed and
                did not come back in time, or hung: then nobody knows, and the message says so.
            StoreFailed: another release has migrated the database, or it is another one now; this process has to end.
        """
        ...

    async def read(self, work: Callable[[Unit], Answer]) -> Answer:
        """Run `work`, which must not write, on a consistent view. Does not wait for writers.

        Raises:
            Unavailable: too much is waiting, or the database is away for longer than some seconds.
            StoreFailed: as for `transact`.
        """
        ...

    async def check(self) -> str:
        """The schema's revision, read from the database, which can be written. No other read holds this up.

        Raises:
            Unavailable: the database does not answer, cannot be written, or its schema is not the one of this release.
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
