"""Limits in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db.schema import links, node_limits
from replicator.control_plane.db.write_behind import WriteBehind
from replicator.control_plane.domain.limits import LinkLimit, NodeLimits
from replicator.kernel.names import NodeName

_SRC: sa.BindParameter[Any] = sa.bindparam("src")
_DST: sa.BindParameter[Any] = sa.bindparam("dst")
_LIMIT: sa.BindParameter[Any] = sa.bindparam("limit")

_NO_LIMITS = NodeLimits()

_OF_NODES = sa.select(node_limits).where(node_limits.c.node.in_(sa.bindparam("names", expanding=True)))
_INSERT_NODE = sa.insert(node_limits)
_DELETE_NODE = sa.delete(node_limits).where(node_limits.c.node == _DST)
_LINKS_TO = sa.select(links).where(links.c.dst_node == _DST).order_by(links.c.src_node).limit(_LIMIT)
_LINKS_FROM = sa.select(links).where(
    links.c.dst_node == _DST, links.c.src_node.in_(sa.bindparam("sources", expanding=True))
)
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

    def __init__(self, connection: WriteBehind) -> None:
        self._connection = connection

    def of_node(self, node: NodeName) -> NodeLimits:
        """The node's own; without any where none were set."""
        return self.of_nodes(frozenset({node})).get(node, _NO_LIMITS)

    def of_nodes(self, nodes: frozenset[NodeName]) -> Mapping[NodeName, NodeLimits]:
        """Those of `nodes` that have any."""
        found: dict[NodeName, NodeLimits] = {}
        asked: list[NodeName] = []
        for node in nodes:
            limits = self._connection.fact((_OF_NODES, node))
            if limits is None:
                asked.append(node)
            else:
                found[node] = limits
        if asked:
            read = dict.fromkeys(asked, _NO_LIMITS) | self._read(sorted(asked))
            for node, limits in read.items():
                self._connection.note_fact((_OF_NODES, node), limits)
            found |= read
        return {node: limits for node, limits in found.items() if limits != _NO_LIMITS}

    def _read(self, names: Sequence[str]) -> dict[NodeName, NodeLimits]:
        found = self._connection.query(_OF_NODES, {"names": names}, of=())
        return {
            NodeName(row.node): NodeLimits(
                ingress_bytes_per_s=row.ingress_bytes_per_s,
                egress_bytes_per_s=row.egress_bytes_per_s,
                tasks_max=row.tasks_max,
                serves_max=row.serves_max,
            )
            for row in found
        }

    def set_node(self, node: NodeName, limits: NodeLimits) -> None:
        """Replaces the node's own. The node must be known."""
        self._connection.execute(_DELETE_NODE, {"dst": node})
        if limits != _NO_LIMITS:
            values = {
                "node": str(node),
                "ingress_bytes_per_s": limits.ingress_bytes_per_s,
                "egress_bytes_per_s": limits.egress_bytes_per_s,
                "tasks_max": limits.tasks_max,
                "serves_max": limits.serves_max,
            }
            self._connection.execute(_INSERT_NODE, values)

    def link(self, *, src_node: NodeName, dst_node: NodeName) -> LinkLimit | None:
        """The limit of a link, if it has one."""
        return next(iter(self._links(_LINK, src=src_node, dst=dst_node)), None)

    def links_to(self, node: NodeName, *, limit: int) -> Sequence[LinkLimit]:
        """At most `limit` links into `node` that are limited, by source."""
        known: Sequence[LinkLimit] | None = self._connection.fact((_LINKS_TO, node, limit))
        if known is None:
            known = self._links(_LINKS_TO, dst=node, limit=limit)
            self._connection.note_fact((_LINKS_TO, node, limit), known)
        return known

    def links_from(self, sources: frozenset[NodeName], *, dst_node: NodeName) -> Sequence[LinkLimit]:
        """The links from any of `sources` into `dst_node` that are limited."""
        return self._links(_LINKS_FROM, dst=dst_node, sources=sorted(sources))

    def links(self, *, after: tuple[str, str], limit: int) -> Sequence[LinkLimit]:
        """At most `limit` links that are limited and follow `after`, by source and destination."""
        return self._links(_LINKS, src=after[0], dst=after[1], limit=limit)

    def set_link(self, link: LinkLimit) -> None:
        """Replaces the limits of a link; one without any is removed. Both nodes must be known."""
        self._connection.execute(_DELETE_LINK, {"src": link.src_node, "dst": link.dst_node})
        if link.bytes_per_s is not None or link.tasks_max is not None:
            values = {
                "src_node": str(link.src_node),
                "dst_node": str(link.dst_node),
                "bytes_per_s": link.bytes_per_s,
                "tasks_max": link.tasks_max,
            }
            self._connection.execute(_INSERT_LINK, values)

    def _links(self, query: sa.Select[Any], **values: Any) -> Sequence[LinkLimit]:
        return [
            LinkLimit(
                src_node=NodeName(row.src_node),
                dst_node=NodeName(row.dst_node),
                bytes_per_s=row.bytes_per_s,
                tasks_max=row.tasks_max,
            )
            for row in self._connection.query(query, values, of=())
        ]
