"""The scheduler's duties: synchronous work inside a unit, in pages, each of them safe to do again.

A duty looks for what is due inside its own transaction and never relies on what was decided before, so it
does no harm if the work was done meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from replicator.control_plane.domain import lease as leases
from replicator.control_plane.domain import task as tasks
from replicator.control_plane.domain.duty import Group
from replicator.control_plane.domain.policy import RetryPolicy
from replicator.control_plane.domain.task import Task
from replicator.control_plane.ports import Event, Unit
from replicator.control_plane.scheduler import planner, timing
from replicator.control_plane.scheduler.decide import Snapshot
from replicator.control_plane.services import outcomes
from replicator.control_plane.services.registry import disconnect
from replicator.kernel.names import NodeName
from replicator.wire.sessions import ErrorInfo

PAGE = 100
ENDED_MAX = 8
"""Tasks that may end with all their objects in one unit: as many rows as planning writes at a time."""
JOBS_PLANNED_MAX = 16
JOINS_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTarget:
    """A node to tell, and where it is."""

    name: NodeName
    base_url: str


def look(unit: Unit, group: Group) -> Snapshot:
    """When each kind of work of `group`, but for pruning, is next due; a few reads of indexes."""
    return _LOOKS[group](unit)


def plan(unit: Unit) -> None:
    """One step of each of a few jobs that have something to be planned."""
    for job in unit.jobs.to_plan(limit=JOBS_PLANNED_MAX):
        planner.plan_job(unit, job)


def expire_sessions(unit: Unit) -> None:
    """End the sessions that were not renewed."""
    for session in unit.sessions.expired(now_ms=unit.now_ms, limit=PAGE):
        disconnect(unit, session, reason="expired")


def take_back(unit: Unit, policy: RetryPolicy) -> None:
    """Take tasks back whose lease is over."""
    for task in unit.tasks.expired(now_ms=unit.now_ms, limit=ENDED_MAX):
        message = f"{task.dst_node} did not renew its lease"
        silent = task if _has_session(unit, task) else tasks.lapse(task)
        outcomes.take_back(unit, silent, message=message, at_once=False, ended=False, policy=policy)


def release(unit: Unit) -> None:
    """Make tasks ready whose backoff is over."""
    for task in unit.tasks.due(now_ms=unit.now_ms, limit=PAGE):
        outcomes.move(unit, tasks.release(task, now_ms=unit.now_ms))


def give_up(unit: Unit, policy: RetryPolicy) -> None:
    """Fail tasks that have waited too long for a destination that is not connected."""
    latest_ms = unit.now_ms - policy.park_ms_max
    room = ENDED_MAX
    for node, since_ms in unit.tasks.absences().items():
        if since_ms <= latest_ms and room:
            waited = unit.tasks.ready_before(node, ready_at_ms=latest_ms, limit=room)
            _give_up(unit, waited, node=node, hours=policy.park_ms_max / 3_600_000)
            room -= len(waited)


def joins(unit: Unit) -> list[JoinTarget]:
    """Nodes that are due to be told to join."""
    return [
        JoinTarget(name=node.name, base_url=node.base_url)
        for node in unit.nodes.to_join(now_ms=unit.now_ms, limit=JOINS_MAX)
    ]


def start_anew(unit: Unit, *, lease_ms: int, policy: RetryPolicy) -> None:
    """After a start: nodes get a full lease to come back in, for they could not renew while nobody listened.

    Database time may have begun anew as well, so no backoff is left longer than any could be.
    """
    expires_at_ms = unit.now_ms + lease_ms
    sessions = unit.sessions.extend_all(expires_at_ms=expires_at_ms)
    unit.tasks.extend_all(expires_at_ms=expires_at_ms, due_by_ms=unit.now_ms + policy.delay_ms_max)
    unit.note(Event(name="sessions.resumed", fields={"sessions": sessions}))


def _has_session(unit: Unit, task: Task) -> bool:
    session = None if task.lease is None else unit.sessions.get(task.lease.session_id)
    return session is not None and leases.is_live(session, unit.now_ms)


def _give_up(unit: Unit, waited: Sequence[Task], *, node: NodeName, hours: float) -> None:
    error = ErrorInfo(
        error_class="node-down",
        code="peer-unreachable",
        message=f"{node} has not connected for {hours:g} h",
    )
    for task in waited:
        outcomes.move(unit, tasks.fail(task, error=error, now_ms=unit.now_ms), error=error)


def _look_at_plans(unit: Unit) -> Snapshot:
    return Snapshot(now_ms=unit.now_ms, jobs_to_plan=bool(unit.jobs.to_plan(limit=1)))


def _look_at_time(unit: Unit) -> Snapshot:
    return Snapshot(
        now_ms=unit.now_ms,
        next_start_ms=timing.next_start_ms(unit),
        next_deadline_ms=timing.next_deadline_ms(unit),
        next_session_expiry_ms=unit.sessions.next_expiry_ms(),
        next_lease_expiry_ms=unit.tasks.next_expiry_ms(),
        next_backoff_end_ms=unit.tasks.next_due_ms(),
        absent_since_ms=min(unit.tasks.absences().values(), default=None),
    )


def _look_at_joins(unit: Unit) -> Snapshot:
    return Snapshot(now_ms=unit.now_ms, next_join_ms=unit.nodes.next_join_ms())


_LOOKS: dict[Group, Callable[[Unit], Snapshot]] = {
    Group.PLAN: _look_at_plans,
    Group.SWEEP: _look_at_time,
    Group.JOIN: _look_at_joins,
}
