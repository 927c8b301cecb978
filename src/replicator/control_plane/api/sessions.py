"""/sessions: what nodes call."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from replicator.control_plane.api.services import Given
from replicator.wire.sessions import OpenSession, Poll, PollReply, SessionOpened

SessionId = Annotated[
    str,
    Path(min_length=1, max_length=64, pattern=r"^[!-~]+$", examples=["0f3a9c1be2d84756a1b2c3d4e5f60718"]),
]


router = APIRouter(prefix="/sessions", tags=["sessions"])


@router.post("", summary="Open a session")
async def open_session(request: OpenSession, services: Given) -> SessionOpened:
    """A process of a node has started, or has lost its session. Replaces any session of that node."""
    return await services.link.open(request)


@router.post("/{session_id}/poll", summary="Renew a session and hear what is wanted")
async def poll(session_id: SessionId, poll: Poll, request: Request, services: Given) -> PollReply:
    """Answers at once if there is something new, otherwise when there is or `wait_seconds` have passed.

    410 means that the session is over: stop what runs under it, and open another.
    """
    return await services.link.poll(session_id, poll, is_gone=request.is_disconnected)
