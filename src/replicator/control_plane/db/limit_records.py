"""Bandwidth limits in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db.schema import links, node_limits
from replicator.control_plane.domain.limits import LinkLimit, NodeLimits
from replicator.kernel.names import NodeName

_SRC: sa.BindParameter[Any] = sa.bindparam("src")
_DST: sa.BindParameter[Any] = sa.bindparam("dst")
_LIMIT: sa.BindParameter[Any] = sa.bindparam("limit")

_OF_NODES = sa.select(node_limits).where(node_limits.c.node.in_(sa.bindparam("names", expanding=True)))
_INSERT_NODE = sa.insert(node_limits)
_DELETE_NODE = sa.delete(node_limits).where(node_limits.c.node == _DST)
_LINKS_TO = sa.select(links).where(links.c.dst_node == _DST).order_by(links.c.src_node).limit(_LIMIT)
_LINK = sa.select(links).where(links.c.src_node == _SRC, links.c.dst_node == _DST)
_LINKS = (
    sa.select(links)
    .where(sa.tuple_(links.c.src_node, links.c.dst_node) > sa.tuple_(_SRC, _DST))
    .order_by(links.c.src_node, links.c.dst_node)
    .limit(_LIMIT)
)
_INSERT_LINK = sa.insert(links)
_DELETE_LINK = sa.delete(links).where(links.c.src_node == _SRC, links.c.dst_node == _DST)


class SqlLimits:
    """`LimitRecords` on one connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def of_node(self, node: NodeName) -> NodeLimits:
        """The node's own; without any where none were set."""
        return self.of_nodes(frozenset({node})).get(node, NodeLimits())

    def of_nodes(self, nodes: frozenset[NodeName]) -> Mapping[NodeName, NodeLimits]:
        """Those of `nodes` that have any."""
        found = self._connection.execute(_OF_NODES, {"names": sorted(nodes)})
        return {
            NodeName(row.node): NodeLimits(
                ingress_bytes_per_s=row.ingress_bytes_per_s, egress_bytes_per_s=row.egress_bytes_per_s
            )
            for row in found
        }

    def set_node(self, node: NodeName, limits: NodeLimits) -> None:
        """Replaces the node's own. The node must be known."""
        self._connection.execute(_DELETE_NODE, {"dst": node})
        if limits != NodeLimits():
            values = {
                "node": str(node),
                "ingress_bytes_per_s": limits.ingress_bytes_per_s,
                "egress_bytes_per_s": limits.egress_bytes_per_s,
            }
            self._connection.execute(_INSERT_NODE, values)

    def link(self, *, src_node: NodeName, dst_node: NodeName) -> LinkLimit | None:
        """The limit of a link, if it has one."""
        return next(iter(self._links(_LINK, src=src_node, dst=dst_node)), None)

    def links_to(self, node: NodeName, *, limit: int) -> Sequence[LinkLimit]:
        """At most `limit` links into `node` that are limited, by source."""
        return self._links(_LINKS_TO, dst=node, limit=limit)

    def links(self, *, after: tuple[str, str], limit: int) -> Sequence[LinkLimit]:
        """At most `limit` links that are limited and follow `after`, by source and destination."""
        return self._links(_LINKS, src=after[0], dst=after[1], limit=limit)

    def set_link(self, *, src_node: NodeName, dst_node: NodeName, bytes_per_s: int | None) -> None:
        """Replaces the limit of a link; None removes it. Both nodes must be known."""
        self._connection.execute(_DELETE_LINK, {"src": src_node, "dst": dst_node})
        if bytes_per_s is not None:
            values = {"src_node": str(src_node), "dst_node": str(dst_node), "bytes_per_s": bytes_per_s}
            self._connection.execute(_INSERT_LINK, values)

    def _links(self, query: sa.Select[Any], **values: Any) -> Sequence[LinkLimit]:
        return [
            LinkLimit(
                src_node=NodeName(row.src_node), dst_node=NodeName(row.dst_node), bytes_per_s=row.bytes_per_s
            )
            for row in self._connection.execute(query, values)
        ]
