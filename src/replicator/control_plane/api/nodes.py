"""/nodes"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from replicator.control_plane.api.paging import Cursor
from replicator.control_plane.api.services import Given
from replicator.kernel.names import NodeName
from replicator.wire.nodes import NodePage, NodeView, RegisterNode
from replicator.wire.values import NodeNameField

Name = Annotated[NodeNameField, Path(description="What the node is called.", examples=["node1"])]


router = APIRouter(prefix="/nodes", tags=["nodes"])


@router.post("/register", summary="Add a node, or update the one of that name")
async def register(request: RegisterNode, services: Given) -> NodeView:
    """The node is told to join this control plane, within about three seconds.

    If it cannot be told, it is registered all the same: `problem` says why, and it is told again later.
    Registering an unknown name and updating a known one both answer 200.
    """
    return await services.registry.register(request)


@router.get("", summary="List nodes by name")
async def page(
    services: Given, cursor: Cursor = None, limit: Annotated[int | None, Query(ge=1)] = None
) -> NodePage:
    """At most `limit` nodes; pass `next_cursor` as `cursor` for the next ones."""
    return await services.registry.page(cursor=cursor, limit=services.paging.limit(limit))


@router.get("/{name}", summary="Show a node")
async def get(name: Name, services: Given) -> NodeView:
    """The node and whether it is connected."""
    return await services.registry.get(NodeName(name))


@router.delete("/{name}", status_code=204, summary="Forget a node", response_class=Response)
async def delete(name: Name, services: Given) -> None:
    """What the node stores stays on it. 409 while live jobs use it.

    A node that still runs and knows this control plane registers itself again.
    """
    await services.registry.delete(NodeName(name))
