"""What `limits`, `limits node` and `limits link` do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass

from replicator.cli.nodes import PAGE_NODES_MAX
from replicator.cli.output import Column, pages, print_json, print_rows
from replicator.cli.selection import checked
from replicator.cli.units import parse_optional_rate, rate_text
from replicator.client.control_plane import ControlPlaneClient
from replicator.kernel.names import NodeName
from replicator.wire.nodes import LinkLimit, LinkPage, NodeLimits, NodePage

PAGE_LINKS_MAX = 100


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One limit that is in force."""

    what: str
    src_node: str | None
    dst_node: str | None
    bytes_per_second: int


async def ls(control_plane: str, *, json_output: bool) -> None:
    """List every limit of a node or link."""
    async with ControlPlaneClient(control_plane) as client:
        found = [limit async for limit in _all(client)]
    if json_output:
        print(json.dumps({"limits": [asdict(limit) for limit in found]}, indent=2))
    else:
        print_rows(found, _COLUMNS)


async def node(
    control_plane: str, name: str, *, ingress: str | None, egress: str | None, json_output: bool
) -> None:
    """Show the limits of a node, after changing those that are given; `none` takes one away."""
    known = NodeName.parse(name)
    wanted = {
        field: parse_optional_rate(text)
        for field, text in (("ingress_bytes_per_second", ingress), ("egress_bytes_per_second", egress))
        if text is not None
    }
    async with ControlPlaneClient(control_plane) as client:
        limits = await client.node_limits(known)
        if wanted:
            limits = await client.limit_node(known, checked(NodeLimits, **{**limits.model_dump(), **wanted}))
    if json_output:
        print_json(limits)
    else:
        print(f"ingress\t{_text(limits.ingress_bytes_per_second)}")
        print(f"egress\t{_text(limits.egress_bytes_per_second)}")


async def link(control_plane: str, source: str, destination: str, rate: str, *, json_output: bool) -> None:
    """Limit a link; `none` takes the limit away."""
    names = NodeName.parse(source), NodeName.parse(destination)
    wanted = parse_optional_rate(rate)
    async with ControlPlaneClient(control_plane) as client:
        if wanted is None:
            await client.unlimit_link(*names)
        else:
            await client.limit_link(*names, checked(LinkLimit, bytes_per_second=wanted))
    if json_output:
        print(json.dumps({"src_node": source, "dst_node": destination, "bytes_per_second": wanted}))
    else:
        print(f"{source} to {destination}: {_text(wanted)}")


async def _all(client: ControlPlaneClient) -> AsyncIterator[Limit]:
    async def nodes(cursor: str | None, limit: int) -> NodePage:
        return await client.nodes(cursor=cursor, limit=limit)

    async def links(cursor: str | None, limit: int) -> LinkPage:
        return await client.links(cursor=cursor, limit=limit)

    async for node_page in pages(nodes, page_items_max=PAGE_NODES_MAX):
        for each in node_page.nodes:
            ingress, egress = each.limits.ingress_bytes_per_second, each.limits.egress_bytes_per_second
            if ingress is not None:
                yield Limit(what="ingress", src_node=None, dst_node=each.name, bytes_per_second=ingress)
            if egress is not None:
                yield Limit(what="egress", src_node=each.name, dst_node=None, bytes_per_second=egress)
    async for link_page in pages(links, page_items_max=PAGE_LINKS_MAX):
        for one in link_page.links:
            yield Limit(what="link", **one.model_dump())


def _text(bytes_per_second: int | None) -> str:
    return "none" if bytes_per_second is None else rate_text(bytes_per_second)


_COLUMNS = (
    Column("limit", lambda item: item.what),
    Column("from", lambda item: item.src_node),
    Column("to", lambda item: item.dst_node),
    Column("rate", lambda item: item.bytes_per_second, rate_text, right=True),
)
