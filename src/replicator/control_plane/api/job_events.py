"""/jobs/{job_id}/events, as server-sent events (HTML living standard, section 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Message, Receive, Scope, Send

from replicator.control_plane.api.jobs import JobId
from replicator.control_plane.api.services import Given
from replicator.control_plane.services.events import Told
from replicator.runtime.logging import get_logger
from replicator.wire.jobs import PROGRESS_EVENT, JobEvent, JobView
from replicator.wire.sessions import INTEGER_MAX

STALL_SECONDS = 60.0
_EXAMPLE = """event: job.running
data: {"id":3,"at":"2025-06-01T12:00:00.210Z","name":"job.running","fields":{"job":1}}
id: 3

event: progress
data: {"id":1,"kind":"migrate","status":"running"}

: heartbeat

"""


class EventStream(EventSourceResponse):
    """Cut short when its client takes nothing for `STALL_SECONDS`: its place is for others."""

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        # The second is for nginx, which would hold events back until there are many.
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(STALL_SECONDS):
                await send(message)

        try:
            async with aclosing(self._events):
                await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            get_logger().warning("events.stalled", path=scope["path"], seconds=STALL_SECONDS)


async def _place(services: Given) -> AsyncIterator[None]:
    with services.events.place():
        yield


router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=Response,
    dependencies=[Depends(_place)],
    responses={
        200: {
            "description": "Server-sent events: each has its id and a `JobEvent` as data; `progress`, without "
            "an id, has the `JobView`.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        }
    },
)
async def follow(
    job_id: JobId,
    services: Given,
    last_event_id: Annotated[
        int | None,
        Header(ge=0, le=INTEGER_MAX, description="Only events behind this one: what browsers send."),
    ] = None,
    after: Annotated[
        int | None,
        Query(alias="last_event_id", ge=0, le=INTEGER_MAX, description="The same; the header goes first."),
    ] = None,
) -> Response:
    """Everything that has happened and will happen, until the job has ended and that was told.

    `events.dropped` stands for events that are no longer kept. The stream ends with the control plane too: ask
    again with the last id. 503 where too many streams are open.
    """
    await services.events.require_job(job_id)
    told = services.events.follow(job_id, after=last_event_id or after or 0)
    return EventStream(_encoded(told))


async def _encoded(stream: AsyncGenerator[Told, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(stream):
        async for told in stream:
            yield _encode(told)


def _encode(told: Told) -> bytes:
    match told:
        case JobEvent():
            return format_sse_event(data_str=told.model_dump_json(), event=told.name, id=str(told.id))
        case JobView():
            return format_sse_event(data_str=told.model_dump_json(by_alias=True), event=PROGRESS_EVENT)
        case None:
            return format_sse_event(comment="heartbeat")
