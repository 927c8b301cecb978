"""Which ready tasks a node is given: those of the least rank, as far as limits allow. Synchronous work in a unit.

Most claims meet no limit and read nothing but the first ready tasks and what is known of their nodes. Where a
source is full or in maintenance, its tasks are passed over without being looked at: the first tasks of each other
source are merged. A place that the node's own results have just left is not given to it in the same poll, so that
nodes which wait at this replica have it first; those that wait at another one hear of it a moment later, and the
node's next poll may come before them. Ranks order what one node is given: between nodes, who asks first has the place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain import task as tasks
from replicator.control_plane.domain.lease import Lease, Session
from replicator.control_plane.domain.limits import LinkLimit
from replicator.control_plane.domain.places import Places
from replicator.control_plane.domain.policy import RetryPolicy
from replicator.control_plane.domain.task import Task
from replicator.control_plane.ports import Unit
from replicator.control_plane.services import outcomes
from replicator.control_plane.services.assignments import LIMITED_MAX, assignments
from replicator.kernel.names import NodeName
from replicator.wire.sessions import TaskAssignment

SOURCES_MAX = 1000
"""Nodes that one node's ready tasks are looked for at; while some are full, those behind so many others wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The tasks that were handed out, and the sources that have no more room for the node's others."""

    tasks: Sequence[TaskAssignment] = ()
    full: frozenset[NodeName] = frozenset()


def claim(
    unit: Unit, session: Session, *, limit: int, left: Mapping[NodeName, int], policy: RetryPolicy
) -> Claimed:
    """Hand at most `limit` ready tasks to the node of `session`.

    Args:
        left: how many places at each source the node's results have just left.
    """
    node = session.node
    heads = unit.tasks.ready(node, limit=limit) if limit > 0 else ()
    if not heads:
        return Claimed()
    rooms = _rooms(unit, node, {task.src_node for task in heads}, wanted=limit, left=left)
    chosen = rooms.choose(heads)
    if len(chosen) < min(len(heads), rooms.limit):
        sources = unit.tasks.ready_sources(node, limit=SOURCES_MAX)
        rooms = _rooms(unit, node, set(sources), wanted=limit, left=left)
        chosen = rooms.choose(unit.tasks.ready_from(node, rooms.open))
    sourced = [task for task in chosen if not outcomes.fail_without_source(unit, task)]
    found = [outcomes.fail_as_poison(unit, task, boot_id=session.boot_id, policy=policy) for task in sourced]
    possible = [task for task in found if task is not None]
    return Claimed(tasks=_hand_out(unit, session, possible), full=rooms.full_after(chosen))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rooms:
    """How many tasks may be handed out in all, and from each source."""

    limit: int
    of_source: Mapping[NodeName, int] = field(default_factory=dict)

    @property
    def open(self) -> Mapping[NodeName, int]:
        """The sources that have room."""
        return {source: room for source, room in self.of_source.items() if room}

    def choose(self, ready: Sequence[Task]) -> list[Task]:
        """The first of `ready`, which are in the order of their ranks, that there is room for."""
        taken: Counter[NodeName] = Counter()
        chosen: list[Task] = []
        for task in ready:
            if len(chosen) < self.limit and taken[task.src_node] < self.of_source[task.src_node]:
                taken[task.src_node] += 1
                chosen.append(task)
        return chosen

    def full_after(self, chosen: Sequence[Task]) -> frozenset[NodeName]:
        """The sources that have no room once these are handed out."""
        taken = Counter(task.src_node for task in chosen)
        limited = {source: room for source, room in self.of_source.items() if room < self.limit}
        return frozenset(source for source, room in limited.items() if taken[source] == room)


def _rooms(
    unit: Unit, node: NodeName, sources: set[NodeName], *, wanted: int, left: Mapping[NodeName, int]
) -> _Rooms:
    places = _places(unit, node, sources, left)
    limit = places.room(wanted=wanted)
    return _Rooms(
        limit=limit, of_source={source: places.room_from(source, wanted=limit) for source in sources}
    )


def _places(unit: Unit, node: NodeName, sources: set[NodeName], left: Mapping[NodeName, int]) -> Places:
    concerned = frozenset(sources | {node})
    places = Places(
        node=node,
        nodes=unit.nodes.get_many(concerned),
        limits=unit.limits.of_nodes(concerned),
        links={link.src_node: link for link in _links(unit, node, sources)},
        left=left,
    )
    limited = frozenset(name for name in concerned if places.is_limited(name))
    return replace(places, in_hand=unit.tasks.links_in_hand(limited)) if limited else places


def _links(unit: Unit, node: NodeName, sources: set[NodeName]) -> Sequence[LinkLimit]:
    links = unit.limits.links_to(node, limit=LIMITED_MAX)
    if len(links) < LIMITED_MAX:
        return links
    # There are more than are told to the node, which is what was read already.
    return unit.limits.links_from(frozenset(sources), dst_node=node)


def _hand_out(unit: Unit, session: Session, ready: Sequence[Task]) -> list[TaskAssignment]:
    lease = Lease(session_id=session.id, boot_id=session.boot_id, expires_at_ms=session.expires_at_ms)
    claimed = [tasks.claim(task, lease=lease, now_ms=unit.now_ms) for task in ready]
    given = assignments(unit, claimed)
    for task in claimed:
        unit.attempts.begin(task)
        unit.objects.count_attempt(task)
        outcomes.move(unit, task)
        job = outcomes.known_job(unit, task.job_id)
        unit.jobs.put(jobs.attempt_begun(job, now_ms=unit.now_ms))
    return given
