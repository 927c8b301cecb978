"""How many more tasks a node may be given, by the limits of how many there are at a time. Pure.

What is in hand goes on, whatever the limits become and whoever goes into maintenance: this is only about what is
handed out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from replicator.control_plane.domain.limits import LinkLimit, NodeLimits
from replicator.control_plane.domain.node import Node
from replicator.kernel.names import NodeName


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What bounds the tasks of `node`, and how many there are already.

    `nodes` and `limits` are those of the node and of the sources in question, `links` the limits of what goes into
    it, by source. `in_hand` counts tasks by source and destination, and needs to be right only for what `is_limited`.
    `left` counts the places at sources that the node has just left: where there are few, they are somebody else's turn.
    """

    node: NodeName
    nodes: Mapping[NodeName, Node] = field(default_factory=dict)
    limits: Mapping[NodeName, NodeLimits] = field(default_factory=dict)
    links: Mapping[NodeName, LinkLimit] = field(default_factory=dict)
    in_hand: Mapping[tuple[NodeName, NodeName], int] = field(default_factory=dict)
    left: Mapping[NodeName, int] = field(default_factory=dict)

    def is_limited(self, name: NodeName) -> bool:
        """Whether there is a limit of tasks for the node itself, or for one of its sources."""
        limits = self._of(name)
        places_max = limits.tasks_max if name == self.node else limits.serves_max
        return places_max is not None or self._link_max(name) is not None

    def room(self, *, wanted: int) -> int:
        """How many of `wanted` tasks the node may be given, wherever they read from."""
        if self._is_in_maintenance(self.node):
            return 0
        taken = sum(count for (_, dst_node), count in self.in_hand.items() if dst_node == self.node)
        return _room(wanted, self._of(self.node).tasks_max, taken)

    def room_from(self, source: NodeName, *, wanted: int) -> int:
        """How many of `wanted` tasks that read from `source` the node may be given."""
        if self._is_in_maintenance(source):
            return 0
        served = sum(count for (src_node, _), count in self.in_hand.items() if src_node == source)
        room = _room(wanted, self._of(source).serves_max, served + self.left.get(source, 0))
        return _room(room, self._link_max(source), self.in_hand.get((source, self.node), 0))

    def _link_max(self, source: NodeName) -> int | None:
        link = self.links.get(source)
        return None if link is None else link.tasks_max

    def _is_in_maintenance(self, name: NodeName) -> bool:
        node = self.nodes.get(name)
        return node is not None and node.maintenance

    def _of(self, name: NodeName) -> NodeLimits:
        return self.limits.get(name, _UNLIMITED)


_UNLIMITED = NodeLimits()


def _room(wanted: int, places_max: int | None, taken: int) -> int:
    return wanted if places_max is None else max(min(wanted, places_max - taken), 0)
