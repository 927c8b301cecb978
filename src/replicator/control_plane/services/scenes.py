"""What surrounds jobs, tasks and nodes, gathered for `domain.explain`. Reads inside a unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from replicator.control_plane.domain.duty import Group
from replicator.control_plane.domain.finding import Scene
from replicator.control_plane.domain.limits import NodeLimits
from replicator.control_plane.domain.node import Node
from replicator.control_plane.domain.policy import RetryPolicy
from replicator.control_plane.domain.task import Task, TaskState
from replicator.control_plane.ports import Unit
from replicator.kernel.names import NodeName

_WAITING = frozenset({TaskState.READY, TaskState.SCHEDULED})


def of_tasks(unit: Unit, tasks: Sequence[Task]) -> Scene:
    """As much as tells why each of `tasks` waits, in a few reads; those at work need none."""
    waiting = [task for task in tasks if task.state in _WAITING]
    ready = frozenset((task.src_node, task.dst_node) for task in waiting if task.state is TaskState.READY)
    names = frozenset(name for task in waiting for name in (task.src_node, task.dst_node))
    scene = Scene(now_ms=unit.now_ms, nodes=unit.nodes.get_many(names) if names else {})
    return _with_limits(unit, scene, ready) if ready else scene


def whole(unit: Unit, tasks: Sequence[Task], policy: RetryPolicy) -> Scene:
    """All that adds to an explanation of `tasks`, or of their job."""
    names = frozenset(name for task in tasks for name in (task.src_node, task.dst_node))
    return replace(
        of_tasks(unit, tasks),
        in_hand=unit.tasks.links_in_hand(names) if names else {},
        planner=unit.duties.get(Group.PLAN),
        policy=policy,
    )


def of_node(unit: Unit, node: Node, policy: RetryPolicy) -> Scene:
    """All that adds to an explanation of `node`."""
    session = None if node.session_id is None else unit.sessions.get(node.session_id)
    names = frozenset({node.name})
    return Scene(
        now_ms=unit.now_ms,
        nodes={node.name: node},
        sessions={} if session is None else {node.name: session},
        limits=unit.limits.of_nodes(names),
        in_hand=unit.tasks.links_in_hand(names),
        policy=policy,
    )


def _with_limits(unit: Unit, scene: Scene, ends: frozenset[tuple[NodeName, NodeName]]) -> Scene:
    limits = unit.limits.of_nodes(frozenset(name for pair in ends for name in pair))
    found = [unit.limits.link(src_node=source, dst_node=destination) for source, destination in ends]
    links = {(link.src_node, link.dst_node): link for link in found if link is not None}
    limited = frozenset(
        [name for name, each in limits.items() if _bounds_tasks(each)]
        + [link.dst_node for link in links.values() if link.tasks_max is not None]
    )
    in_hand = unit.tasks.links_in_hand(limited) if limited else None
    return replace(scene, limits=limits, links=links, in_hand=in_hand)


def _bounds_tasks(limits: NodeLimits) -> bool:
    return limits.tasks_max is not None or limits.serves_max is not None
