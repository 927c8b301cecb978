"""What `nodes` and its commands do."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import HttpUrl, TypeAdapter, ValidationError

from replicator.cli.output import Column, local_time, pages, print_json, print_listing
from replicator.cli.selection import checked
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
        await client.remove_node(NodeName.parse(name))
    print(json.dumps({"removed": name}) if json_output else f"removed {name}")


_COLUMNS = (
    Column("node", lambda item: item.name),
    Column("URL", lambda item: item.base_url),
    Column("status", lambda item: item.status),
    Column("last seen", lambda item: item.seen_at, local_time),
    Column("problem", lambda item: item.problem),
    Column("zone", lambda item: item.zone),
    Column("maintenance", lambda item: "yes" if item.maintenance else None),
    Column("free", lambda item: item.bytes_free, bytes_text, right=True),
    Column("of", lambda item: item.bytes_total, bytes_text, right=True),
    Column("tasks", lambda item: item.tasks_in_hand, right=True),
    Column("labels", _labels_text),
)
