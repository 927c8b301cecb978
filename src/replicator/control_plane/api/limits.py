"""/nodes/{name}/limits, /links"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from replicator.control_plane.api.nodes import Name
from replicator.control_plane.api.paging import Cursor
from replicator.control_plane.api.services import Given
from replicator.kernel.names import NodeName
from replicator.wire.nodes import LinkLimit, LinkPage, LinkView, NodeLimits
from replicator.wire.values import NodeNameField

Source = Annotated[NodeNameField, Path(description="The node that sends.", examples=["node1"])]
Destination = Annotated[NodeNameField, Path(description="The node that receives.", examples=["node2"])]


router = APIRouter(tags=["limits"])


@router.get("/nodes/{name}/limits", summary="Show what a node is held to")
async def node_limits(name: Name, services: Given) -> NodeLimits:
    """Null where there is no limit."""
    return await services.limits.of_node(NodeName(name))


@router.put("/nodes/{name}/limits", summary="Limit what a node receives and sends, and its tasks at a time")
async def limit_node(name: Name, request: NodeLimits, services: Given) -> NodeLimits:
    """Replaces what was set before. Rates hold for what is under way too, within a poll of the node; limits of tasks
    only for what is handed out from now on: what is in hand goes on."""
    return await services.limits.limit_node(NodeName(name), request)


@router.delete(
    "/nodes/{name}/limits", status_code=204, summary="Take the limits off a node", response_class=Response
)
async def unlimit_node(name: Name, services: Given) -> None:
    """Those of links and jobs stay."""
    await services.limits.limit_node(NodeName(name), NodeLimits())


@router.get("/links", summary="List limited links")
async def links(
    services: Given, cursor: Cursor = None, limit: Annotated[int | None, Query(ge=1)] = None
) -> LinkPage:
    """At most `limit` links, by source and destination; pass `next_cursor` as `cursor` for the next ones."""
    return await services.limits.links(cursor=cursor, limit=services.paging.limit(limit))


@router.get("/links/{src_node}/{dst_node}", summary="Show the limit of a link")
async def link(src_node: Source, dst_node: Destination, services: Given) -> LinkView:
    """404 where there is none."""
    return await services.limits.link(NodeName(src_node), NodeName(dst_node))


@router.put("/links/{src_node}/{dst_node}", summary="Limit what goes from one node to another")
async def limit_link(
    src_node: Source, dst_node: Destination, request: LinkLimit, services: Given
) -> LinkView:
    """Replaces what was set before. The rate holds for what is under way too, within a poll of the destination;
    `tasks_max` for what is handed out from now on."""
    return await services.limits.limit_link(NodeName(src_node), NodeName(dst_node), request)


@router.delete(
    "/links/{src_node}/{dst_node}",
    status_code=204,
    summary="Take the limit off a link",
    response_class=Response,
)
async def unlimit_link(src_node: Source, dst_node: Destination, services: Given) -> None:
    """404 where there is none."""
    await services.limits.unlimit_link(NodeName(src_node), NodeName(dst_node))
