"""What `limits`, `limits node` and `limits link` do."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from typing import TypedDict

from replicator.cli.nodes import PAGE_NODES_MAX
from replicator.cli.output import pages, print_json, print_rows, say_if_empty
from replicator.cli.selection import checked
from replicator.cli.tables import Column
from replicator.cli.units import parse_optional_count, parse_optional_rate, rate_text
from replicator.client.control_plane import ControlPlaneClient
from replicator.kernel.errors import NotFound
from replicator.kernel.names import NodeName
from replicator.wire.nodes import LinkLimit, LinkPage, NodeLimits, NodePage, NodeView

PAGE_LINKS_MAX = 100


@dataclass(frozen=True, kw_only=True)
class Limit:
    """One limit that is in force."""

    what: str
    src_node: str | None
    dst_node: str | None
    bytes_per_second: int | None = None
    tasks_max: int | None = None


class _Ends(TypedDict):
    src_node: str | None
    dst_node: str | None


@dataclass(frozen=True, kw_only=True)
class NodeChange:
    """What is to become of a node's limits, as it was written; `none` takes one away."""

    ingress: str | None = None
    egress: str | None = None
    tasks_max: str | None = None
    serves_max: str | None = None

    def fields(self) -> dict[str, int | None]:
        """Those that are to change."""
        rates = {"ingress_bytes_per_second": self.ingress, "egress_bytes_per_second": self.egress}
        counts = {"tasks_max": self.tasks_max, "serves_max": self.serves_max}
        return _parsed(rates, counts)


@dataclass(frozen=True, kw_only=True)
class LinkChange:
    """As `NodeChange`, of a link."""

    rate: str | None = None
    tasks_max: str | None = None

    def fields(self) -> dict[str, int | None]:
        """Those that are to change."""
        return _parsed({"bytes_per_second": self.rate}, {"tasks_max": self.tasks_max})


async def ls(control_plane: str, *, json_output: bool) -> None:
    """List every limit of a node or link."""
    async with ControlPlaneClient(control_plane) as client:
        found = [limit async for limit in _all(client)]
    if json_output:
        print(json.dumps({"limits": [asdict(limit) for limit in found]}, indent=2))
    else:
        print_rows(found, _COLUMNS)
        say_if_empty(len(found), "limits")


async def node(control_plane: str, name: str, change: NodeChange, *, json_output: bool) -> None:
    """Show the limits of a node, after changing those that are given."""
    known, wanted = NodeName.parse(name), change.fields()
    async with ControlPlaneClient(control_plane) as client:
        limits = await client.node_limits(known)
        if wanted:
            limits = await client.limit_node(known, checked(NodeLimits, **{**limits.model_dump(), **wanted}))
    if json_output:
        print_json(limits)
    else:
        print(f"ingress\t{_text(limits.ingress_bytes_per_second)}")
        print(f"egress\t{_text(limits.egress_bytes_per_second)}")
        print(f"tasks\t{limits.tasks_max or 'none'}")
        print(f"serves\t{limits.serves_max or 'none'}")


async def link(
    control_plane: str, source: str, destination: str, change: LinkChange, *, json_output: bool
) -> None:
    """Limit a link; one that has no limit left is free."""
    names, wanted = (NodeName.parse(source), NodeName.parse(destination)), change.fields()
    async with ControlPlaneClient(control_plane) as client:
        limits = {**await _known(client, *names), **wanted}
        if any(limits.values()):
            await client.limit_link(*names, checked(LinkLimit, **limits))
        else:
            await client.unlimit_link(*names)
    if json_output:
        print(json.dumps({"src_node": source, "dst_node": destination, **limits}))
    else:
        tasks_max = limits["tasks_max"]
        tasks = "" if tasks_max is None else f", {tasks_max} tasks at a time"
        print(f"{source} to {destination}: {_text(limits['bytes_per_second'])}{tasks}")


async def _known(
    client: ControlPlaneClient, source: NodeName, destination: NodeName
) -> dict[str, int | None]:
    try:
        link = await client.link(source, destination)
    except NotFound:
        return {"bytes_per_second": None, "tasks_max": None}
    return {"bytes_per_second": link.bytes_per_second, "tasks_max": link.tasks_max}


async def _all(client: ControlPlaneClient) -> AsyncIterator[Limit]:
    async def nodes(cursor: str | None, limit: int) -> NodePage:
        return await client.nodes(cursor=cursor, limit=limit)

    async def links(cursor: str | None, limit: int) -> LinkPage:
        return await client.links(cursor=cursor, limit=limit)

    async for node_page in pages(nodes, page_items_max=PAGE_NODES_MAX):
        for each in node_page.nodes:
            for limit in _of_node(each):
                yield limit
    async for link_page in pages(links, page_items_max=PAGE_LINKS_MAX):
        for one in link_page.links:
            yield Limit(what="link", **one.model_dump())


def _of_node(node: NodeView) -> Iterator[Limit]:
    limits, name = node.limits, node.name
    for what, rate in {
        "ingress": limits.ingress_bytes_per_second,
        "egress": limits.egress_bytes_per_second,
    }.items():
        if rate is not None:
            yield Limit(what=what, **_ends(what, name), bytes_per_second=rate)
    for what, count in {"tasks": limits.tasks_max, "serves": limits.serves_max}.items():
        if count is not None:
            yield Limit(what=what, **_ends(what, name), tasks_max=count)


def _ends(what: str, name: str) -> _Ends:
    receives = what in {"ingress", "tasks"}
    return _Ends(src_node=None if receives else name, dst_node=name if receives else None)


def _parsed(rates: dict[str, str | None], counts: dict[str, str | None]) -> dict[str, int | None]:
    fields = {name: parse_optional_rate(text) for name, text in rates.items() if text is not None}
    return fields | {name: parse_optional_count(text) for name, text in counts.items() if text is not None}


def _text(bytes_per_second: int | None) -> str:
    return "none" if bytes_per_second is None else rate_text(bytes_per_second)


_COLUMNS = (
    Column("limit", lambda item: item.what),
    Column("from", lambda item: item.src_node),
    Column("to", lambda item: item.dst_node),
    Column("rate", lambda item: item.bytes_per_second, rate_text, right=True),
    Column("tasks", lambda item: item.tasks_max, right=True),
)
