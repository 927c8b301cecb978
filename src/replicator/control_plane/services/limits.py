"""Limits of nodes and links: of bandwidth, which nodes hear of with their next poll, and of tasks at a time."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.control_plane.domain import limits
from replicator.control_plane.domain.limits import LinkLimit
from replicator.control_plane.ports import Database, Event, Unit, source_topic
from replicator.control_plane.services import cursors
from replicator.control_plane.services.registry import require_node
from replicator.kernel.errors import InvalidRequest, NotFound
from replicator.kernel.names import NodeName
from replicator.wire import nodes as wire
from replicator.wire.nodes import LinkPage, LinkView, NodeLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What can be asked about limits. Methods raise `NotFound` where a node named is not registered."""

    database: Database

    async def of_node(self, name: NodeName) -> NodeLimits:
        """What the node is held to."""
        return await self.database.read(lambda unit: _of_node(unit, name))

    async def limit_node(self, name: NodeName, wanted: NodeLimits) -> NodeLimits:
        """Replaces what the node is held to."""
        return await self.database.transact(lambda unit: _limit_node(unit, name, wanted))

    async def link(self, source: NodeName, destination: NodeName) -> LinkView:
        """The limit of a link, or `NotFound`."""
        return await self.database.read(lambda unit: link_view(_require_link(unit, source, destination)))

    async def links(self, *, cursor: str | None, limit: int) -> LinkPage:
        """At most `limit` links that are limited, by source and destination."""
        after = ("", "") if cursor is None else cursors.after_link(cursor)
        return await self.database.read(lambda unit: _links(unit, after, limit))

    async def limit_link(self, source: NodeName, destination: NodeName, wanted: wire.LinkLimit) -> LinkView:
        """Replaces the limits of a link."""
        if source == destination:
            raise InvalidRequest(f"a link goes from one node to another; '{source}' is named twice")
        link = LinkLimit(
            src_node=source,
            dst_node=destination,
            bytes_per_s=wanted.bytes_per_second,
            tasks_max=wanted.tasks_max,
        )
        return await self.database.transact(lambda unit: _limit_link(unit, link))

    async def unlimit_link(self, source: NodeName, destination: NodeName) -> None:
        """Takes the limit of a link away; `NotFound` where there is none."""
        await self.database.transact(lambda unit: _unlimit_link(unit, source, destination))


def link_view(link: LinkLimit) -> LinkView:
    """The link as users see it."""
    return LinkView(
        src_node=link.src_node,
        dst_node=link.dst_node,
        bytes_per_second=link.bytes_per_s,
        tasks_max=link.tasks_max,
    )


def node_limits(known: limits.NodeLimits) -> NodeLimits:
    """The limits of a node as users see them."""
    return NodeLimits(
        ingress_bytes_per_second=known.ingress_bytes_per_s,
        egress_bytes_per_second=known.egress_bytes_per_s,
        tasks_max=known.tasks_max,
        serves_max=known.serves_max,
    )


def _of_node(unit: Unit, name: NodeName) -> NodeLimits:
    require_node(unit, name)
    return node_limits(unit.limits.of_node(name))


def _limit_node(unit: Unit, name: NodeName, wanted: NodeLimits) -> NodeLimits:
    require_node(unit, name)
    kept = limits.NodeLimits(
        ingress_bytes_per_s=wanted.ingress_bytes_per_second,
        egress_bytes_per_s=wanted.egress_bytes_per_second,
        tasks_max=wanted.tasks_max,
        serves_max=wanted.serves_max,
    )
    unit.limits.set_node(name, kept)
    fields = {"node": name, **wanted.model_dump()}
    unit.note(Event(name="limits.changed", fields=fields, wakes=[name, source_topic(name)]))
    return wanted


def _require_link(unit: Unit, source: NodeName, destination: NodeName) -> LinkLimit:
    for name in (source, destination):
        require_node(unit, name)
    link = unit.limits.link(src_node=source, dst_node=destination)
    if link is None:
        raise NotFound(f"the link from '{source}' to '{destination}' has no limit")
    return link


def _limit_link(unit: Unit, wanted: LinkLimit) -> LinkView:
    for name in (wanted.src_node, wanted.dst_node):
        require_node(unit, name)
    _set_link(unit, wanted)
    return link_view(wanted)


def _unlimit_link(unit: Unit, source: NodeName, destination: NodeName) -> None:
    _require_link(unit, source, destination)
    _set_link(unit, LinkLimit(src_node=source, dst_node=destination))


def _set_link(unit: Unit, link: LinkLimit) -> None:
    unit.limits.set_link(link)
    fields = link_view(link).model_dump()
    unit.note(Event(name="limits.changed", fields=fields, wakes=[link.dst_node]))


def _links(unit: Unit, after: tuple[str, str], limit: int) -> LinkPage:
    found = unit.limits.links(after=after, limit=limit + 1)
    shown = found[:limit]
    last = shown[-1] if len(found) > limit else None
    return LinkPage(
        links=[link_view(link) for link in shown],
        next_cursor=None if last is None else cursors.of_link(last.src_node, last.dst_node),
    )
