"""A job's events, through every lost connection."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

from pydantic import ValidationError

from replicator.client.endpoint import Endpoint
from replicator.client.event_stream import EventDecoder, ServerSentEvent
from replicator.kernel.errors import BrokenPeer, PeerUnreachable, Unavailable
from replicator.wire.jobs import HEARTBEAT_SECONDS, PROGRESS_EVENT, TERMINAL_STATUSES, JobEvent, JobView

PATIENCE_SECONDS = 60.0
SILENCE_SECONDS_MAX = 3 * HEARTBEAT_SECONDS
RETRY_SECONDS_MAX = 2.0
_RETRY_SECONDS_MIN = 0.1

Told = JobEvent | JobView


async def job_events(
    endpoint: Endpoint,
    job_id: int,
    *,
    after: int,
    patience_s: float,
    uniform: Callable[[float, float], float] = random.uniform,
) -> AsyncGenerator[Told, None]:
    """See `ControlPlaneClient.job_events`."""
    clock = asyncio.get_running_loop().time
    heard_s, delay_s = clock(), _RETRY_SECONDS_MIN
    while True:
        try:
            async with aclosing(_connection(endpoint, job_id, after)) as connection:
                async for told in connection:
                    heard_s, delay_s = clock(), _RETRY_SECONDS_MIN
                    after = told.id if isinstance(told, JobEvent) else after
                    yield told
                    if isinstance(told, JobView) and told.status in TERMINAL_STATUSES:
                        return
            lost: Exception = PeerUnreachable("the control plane has ended its stream of events")
        except (Unavailable, BrokenPeer) as error:
            lost = error
        if clock() - heard_s >= patience_s:
            raise lost
        await asyncio.sleep(uniform(delay_s / 2, delay_s))
        delay_s = min(2 * delay_s, RETRY_SECONDS_MAX)


async def _connection(endpoint: Endpoint, job_id: int, after: int) -> AsyncGenerator[Told, None]:
    """What one connection tells, until its end."""
    decoder = EventDecoder()
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    async with (
        endpoint.download(f"/jobs/{job_id}/events", headers=headers) as response,
        aclosing(endpoint.blocks(response, block_bytes=None)) as blocks,
    ):
        while (block := await _next(blocks)) is not None:
            for event in decoder.feed(block):
                if event.data:
                    yield _told(event)


async def _next(blocks: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(SILENCE_SECONDS_MAX):
            return await anext(blocks, None)
    except TimeoutError as error:
        raise PeerUnreachable(
            f"the control plane's events fell silent for {SILENCE_SECONDS_MAX:g} s"
        ) from error


def _told(event: ServerSentEvent) -> Told:
    kind = JobView if event.name == PROGRESS_EVENT else JobEvent
    try:
        return kind.model_validate_json(event.data)
    except ValidationError as error:
        raise BrokenPeer(f"the control plane sent an event '{event.name[:80]}' that is none") from error
