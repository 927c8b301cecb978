"""What `nodes` and its commands do."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import HttpUrl, TypeAdapter, ValidationError

from replicator.cli.output import pages, print_json, print_listing, short_time
from replicator.cli.selection import checked
from replicator.cli.tables import Column
from replicator.cli.units import bytes_text
from replicator.client.control_plane import ControlPlaneClient
from replicator.kernel.errors import InvalidRequest
from replicator.kernel.names import NodeName
from replicator.wire.nodes import ChangeNode, NodePage, NodeStatus, NodeView

PAGE_NODES_MAX = 100
_URL = TypeAdapter(HttpUrl)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which nodes to list: those for which everything that is named is so; labels are `key=value`."""

    zone: str | None = None
    labels: Sequence[str] = ()
    status: NodeStatus | None = None


async def ls(control_plane: str, wanted: Wanted, *, json_output: bool) -> None:
    """List the nodes."""
    async with ControlPlaneClient(control_plane) as client:

        async def fetch(cursor: str | None, limit: int) -> NodePage:
            return await client.nodes(
                cursor=cursor, limit=limit, zone=wanted.zone, labels=wanted.labels, status=wanted.status
            )

        found = pages(fetch, page_items_max=PAGE_NODES_MAX)
        await print_listing(found, key="nodes", columns=_COLUMNS, json_output=json_output)


async def register(
    control_plane: str,
    name: str,
    url: str,
    *,
    labels: Sequence[str] | None,
    zone: str | None,
    json_output: bool,
) -> None:
    """Register a node, and say so if it could not be told to join."""
    try:
        _URL.validate_python(url)
    except ValidationError as error:
        raise InvalidRequest(f"'{url}' is not a URL like http://localhost:9001") from error
    told = None if labels is None else dict(map(_label, labels))
    checked(ChangeNode, labels=told, zone=zone)
    async with ControlPlaneClient(control_plane) as client:
        node = await client.register_node(name=NodeName.parse(name), base_url=url, labels=told, zone=zone)
    if json_output:
        print_json(node)
        return
    print(f"registered {node.name} at {node.base_url}: {node.status}")
    if node.problem is not None:
        print(f"replicator: it has not joined yet: {node.problem}", file=sys.stderr)


async def change(
    control_plane: str, name: str, *, labels: Sequence[str], zone: str | None, json_output: bool
) -> None:
    """Change labels and zone; `none` for what the node says of itself, an empty value takes a label away."""
    fields: dict[str, Any] = {} if zone is None else {"zone": None if zone == "none" else zone}
    if labels:
        pairs = {key: value or None for key, value in map(_label, labels) if labels != ["none"]}
        fields["labels"] = pairs or None
    if not fields:
        raise InvalidRequest("say what to change: --label KEY=VALUE, --zone ZONE")
    await _change(control_plane, name, checked(ChangeNode, **fields), json_output=json_output)


async def maintenance(control_plane: str, name: str, *, on: bool, json_output: bool) -> None:
    """Put a node in maintenance, or out of it."""
    await _change(control_plane, name, ChangeNode(maintenance=on), json_output=json_output)


async def _change(control_plane: str, name: str, change: ChangeNode, *, json_output: bool) -> None:
    async with ControlPlaneClient(control_plane) as client:
        node = await client.change_node(NodeName.parse(name), change)
    if json_output:
        print_json(node)
        return
    print(f"{node.name}: zone {node.zone or '-'}, labels {_labels_text(node) or '-'}")
    if node.maintenance:
        print(f"in maintenance; tasks in hand: {node.tasks_in_hand}")
    elif change.maintenance is not None:
        print("takes work again")


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not (equals or text == "none"):
        raise InvalidRequest(f"'{text}' is no label: write it as KEY=VALUE")
    return key, value


def _labels_text(node: NodeView) -> str | None:
    return ",".join(f"{key}={value}" for key, value in sorted(node.labels.items())) or None


async def rm(control_plane: str, name: str, *, json_output: bool) -> None:
    """Forget a node."""
    async with ControlPlaneClient(control_plane) as client:
        node = await client.node(NodeName.parse(name))
        await client.remove_node(NodeName.parse(name))
    print(json.dumps({"removed": name}) if json_output else f"removed {name}")
    if node.status == "connected" and not json_output:
        print(
            f"replicator: {name} still runs: if it was started with --control-plane it joins again by itself, "
            "so stop it",
            file=sys.stderr,
        )


_COLUMNS = (
    Column("node", lambda item: item.name),
    Column("URL", lambda item: item.base_url, drop=4),
    Column("status", lambda item: item.status),
    Column("last seen", lambda item: item.seen_at, short_time, drop=5),
    Column("problem", lambda item: item.problem, below=True),
    Column("zone", lambda item: item.zone, drop=3),
    Column("maintenance", lambda item: "yes" if item.maintenance else None, drop=1),
    Column("free", lambda item: item.bytes_free, bytes_text, right=True, drop=2),
    Column("of", lambda item: item.bytes_total, bytes_text, right=True, drop=6),
    Column("tasks", lambda item: item.tasks_in_hand, right=True, drop=1),
    Column("labels", _labels_text, drop=7),
)
