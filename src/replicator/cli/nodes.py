"""What `nodes`, `nodes register` and `nodes rm` do."""

from __future__ import annotations

import json
import sys

from pydantic import HttpUrl, TypeAdapter, ValidationError

from replicator.cli.output import Column, local_time, pages, print_json, print_listing
from replicator.client.control_plane import ControlPlaneClient
from replicator.kernel.errors import InvalidRequest
from replicator.kernel.names import NodeName
from replicator.wire.nodes import NodePage

PAGE_NODES_MAX = 100
_URL = TypeAdapter(HttpUrl)


async def ls(control_plane: str, *, json_output: bool) -> None:
    """List the nodes."""
    async with ControlPlaneClient(control_plane) as client:

        async def fetch(cursor: str | None, limit: int) -> NodePage:
            return await client.nodes(cursor=cursor, limit=limit)

        found = pages(fetch, page_items_max=PAGE_NODES_MAX)
        await print_listing(found, key="nodes", columns=_COLUMNS, json_output=json_output)


async def register(control_plane: str, name: str, url: str, *, json_output: bool) -> None:
    """Register a node, and say so if it could not be told to join."""
    try:
        _URL.validate_python(url)
    except ValidationError as error:
        raise InvalidRequest(f"'{url}' is not a URL like http://localhost:9001") from error
    async with ControlPlaneClient(control_plane) as client:
        node = await client.register_node(name=NodeName.parse(name), base_url=url)
    if json_output:
        print_json(node)
        return
    print(f"registered {node.name} at {node.base_url}: {node.status}")
    if node.problem is not None:
        print(f"replicator: it has not joined yet: {node.problem}", file=sys.stderr)


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
)
