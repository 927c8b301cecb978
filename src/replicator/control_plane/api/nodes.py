"""/nodes"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import StringConstraints

from replicator.control_plane.api.paging import Cursor
from replicator.control_plane.api.services import Given
from replicator.control_plane.services.registry import Wanted, label_of
from replicator.kernel.names import NodeName
from replicator.wire.nodes import ChangeNode, NodePage, NodeStatus, NodeView, RegisterNode
from replicator.wire.values import NodeNameField, Zone

Name = Annotated[NodeNameField, Path(description="What the node is called.", examples=["node1"])]

Label = Annotated[str, StringConstraints(max_length=127)]


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
    services: Given,
    cursor: Cursor = None,
    limit: Annotated[int | None, Query(ge=1)] = None,
    zone: Annotated[Zone | None, Query(description="Only nodes that stand there.")] = None,
    label: Annotated[
        list[Label] | None, Query(description="Only nodes with this label, as `key=value`.", max_length=8)
    ] = None,
    status: Annotated[NodeStatus | None, Query(description="Only nodes that are so.")] = None,
) -> NodePage:
    """At most `limit` nodes; pass `next_cursor` as `cursor` for the next ones.

    A page may hold fewer, or none, with a `next_cursor` still: then many were passed over.
    """
    wanted = Wanted(zone=zone, labels=tuple(map(label_of, label or [])), status=status)
    return await services.registry.page(cursor=cursor, limit=services.paging.limit(limit), wanted=wanted)


@router.get("/{name}", summary="Show a node")
async def get(name: Name, services: Given) -> NodeView:
    """The node and whether it is connected."""
    return await services.registry.get(NodeName(name))


@router.patch("/{name}", summary="Change the labels or the zone of a node, or put it in maintenance")
async def change(name: Name, request: ChangeNode, services: Given) -> NodeView:
    """What is not named stays, labels too. What is set here wins over what the node says of itself.

    A node in maintenance is given no new work, and none that reads from it; what is in hand goes on.
    """
    return await services.registry.change(NodeName(name), request)


@router.delete("/{name}", status_code=204, summary="Forget a node", response_class=Response)
async def delete(name: Name, services: Given) -> None:
    """What the node stores stays on it. 409 while live jobs use it: put it in maintenance, and wait for them or
    cancel them.

    A node that still runs and knows this control plane registers itself again.
    """
    await services.registry.delete(NodeName(name))
