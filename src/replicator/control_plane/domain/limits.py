"""Bandwidth limits, in bytes a second; None is no limit."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.kernel.names import NodeName


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLimits:
    """What a node may take in and give out, over all its links."""

    ingress_bytes_per_s: int | None = None
    egress_bytes_per_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLimit:
    """What may go from one node to another."""

    src_node: NodeName
    dst_node: NodeName
    bytes_per_s: int
