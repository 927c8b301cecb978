"""Limits of bandwidth, in bytes a second, and of tasks at a time; None is no limit."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.kernel.names import NodeName


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLimits:
    """What a node may take in and give out, over all its links.

    `tasks_max` bounds the tasks that it has in hand, `serves_max` those of other nodes that read from it.
    """

    ingress_bytes_per_s: int | None = None
    egress_bytes_per_s: int | None = None
    tasks_max: int | None = None
    serves_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLimit:
    """What may go from one node to another."""

    src_node: NodeName
    dst_node: NodeName
    bytes_per_s: int | None = None
    tasks_max: int | None = None
