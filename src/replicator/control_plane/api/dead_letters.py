"""/dead-letters"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from replicator.control_plane.api.paging import Cursor
from replicator.control_plane.api.services import Given
from replicator.wire.jobs import DeadLetterPage

router = APIRouter(tags=["jobs"])


@router.get("/dead-letters", summary="List tasks that have failed for good")
async def page(
    services: Given, cursor: Cursor = None, limit: Annotated[int | None, Query(ge=1)] = None
) -> DeadLetterPage:
    """Of jobs that ended `partial` or `failed`, newest task first, each with its reason. `POST /jobs/{id}/retry` tries
    them again, and takes them off this list; they also leave it when their job goes to history.

    A page may hold fewer, or none, with a `next_cursor` still: then many were passed over.
    """
    return await services.dead_letters.page(cursor=cursor, limit=services.paging.limit(limit))
