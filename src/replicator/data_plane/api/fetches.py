"""The answer to `POST /replication/fetch`: frames, see `wire.frames`.

Most answers are plain chunks and nothing else. Their length is known beforehand, so they have a Content-Length,
and their frames are written into gaps that were left in the block read from disk. Where deltas or compression may
shorten them, they are made by threads and go out in chunked coding.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from typing import NamedTuple

from replicator.data_plane.api.exchange import Exchange
from replicator.data_plane.api.paced import send_paced
from replicator.data_plane.objects.service import Batch, ObjectService
from replicator.data_plane.replication.messages.requests import FetchAsked
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.sending import Absent, Lengths, Plain, Step, plain_steps, steps
from replicator.data_plane.replication.serving import Serving
from replicator.data_plane.threads import Threads
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt
from replicator.kernel.manifest import ChunkRef
from replicator.wire.frames import FRAME_BYTES, MEDIA_TYPE, FrameStatus, encode_frame

# Each has a delta on its way and one in the making, of up to `DELTA_BYTES_MAX`.
_DELTA_FETCHES_MAX = 8
_DELTA_WAIT_S = 4.0
_CONTENT_TYPE = (b"content-type", MEDIA_TYPE.encode())


class _Block(NamedTuple):
    """Frames to send in one go, and why nothing may follow, if so."""

    content: bytes
    corrupt: Corrupt | None


class FetchAnswers:
    """See `ReplicationRoutes`."""

    def __init__(self, serving: Serving, service: ObjectService, *, encoders: Threads, pacer: Pacer) -> None:
        self._serving = serving
        self._service = service
        self._encoders = encoders
        self._pacer = pacer
        self._delta_turns = asyncio.Semaphore(_DELTA_FETCHES_MAX)

    async def answer(self, exchange: Exchange, asked: FetchAsked) -> None:
        """Send what was asked for; raises `Corrupt` behind the frame that says so."""
        with self._serving.store.hold("fetch by another node") as hold:
            lengths = await self._service.threads.run(self._serving.locate, asked, hold)
            async with self._service.budget.transfer(None), self._delta_turn(asked) as deltas:
                if asked.compress or deltas:
                    await self._send_shorter(exchange, asked, lengths, deltas=deltas)
                else:
                    await self._send_plain(exchange, _chunks(asked), lengths)

    @asynccontextmanager
    async def _delta_turn(self, asked: FetchAsked) -> AsyncIterator[bool]:
        """Whether there may be deltas in the answer. They take memory, so where too many want some, one does without."""
        if not any(piece.references for piece in asked.pieces):
            yield False
            return
        try:
            async with asyncio.timeout(_DELTA_WAIT_S):
                await self._delta_turns.acquire()
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._delta_turns.release()

    async def _send_shorter(
        self, exchange: Exchange, asked: FetchAsked, lengths: Lengths, *, deltas: bool
    ) -> None:
        await exchange.start(HTTPStatus.OK, [_CONTENT_TYPE])
        exchange.watch_client()
        block_bytes = self._service.budget.block_bytes
        todo = (
            steps(asked, lengths, block_bytes)
            if deltas
            else plain_steps(_chunks(asked), lengths, block_bytes)
        )
        await self._send_made(exchange, todo, compress=asked.compress)
        await exchange.send(b"", more=False)

    async def _send_plain(self, exchange: Exchange, digests: Sequence[Digest], lengths: Lengths) -> None:
        total = sum(FRAME_BYTES + (lengths[digest] or 0) for digest in digests)
        await exchange.start(HTTPStatus.OK, [_CONTENT_TYPE, (b"content-length", b"%d" % total)])
        exchange.watch_client()
        sent = 0
        try:
            async with aclosing(self._plain_blocks(digests, lengths)) as blocks:
                async for count, block in blocks:
                    await send_paced(exchange, block, self._pacer, more=True)
                    sent += count
        except Corrupt:
            # Once more in smaller steps: what comes before the damaged chunk is sent, and then which one it is.
            todo = plain_steps(digests[sent:], lengths, self._service.budget.block_bytes)
            await self._send_made(exchange, todo, compress=False)
        await exchange.send(b"", more=False)

    async def _plain_blocks(
        self, digests: Sequence[Digest], lengths: Lengths
    ) -> AsyncGenerator[tuple[int, bytes | memoryview], None]:
        """(how many frames, their bytes), the next block being read while one is sent."""
        todo = plain_steps(digests, lengths, self._service.budget.block_bytes)
        for is_here, run in itertools.groupby(todo, lambda step: isinstance(step, Plain)):
            if not is_here:
                for step in run:
                    yield len(step.refs), _absent_block(step)
                continue
            batches = (Batch(step.refs, 0, 0) for step in run)
            async with aclosing(self._service.read_ahead(batches, gap=FRAME_BYTES)) as blocks:
                async for batch, block in blocks:
                    _write_frames(batch.refs, block)
                    yield len(batch.refs), block

    async def _send_made(self, exchange: Exchange, todo: Iterator[Step], *, compress: bool) -> None:
        make = functools.partial(_make_block, self._serving, compress=compress)
        async with aclosing(self._encoders.ahead(todo, make)) as blocks:
            async for block in blocks:
                await send_paced(exchange, block.content, self._pacer, more=True)
                if block.corrupt is not None:
                    raise block.corrupt


def _chunks(asked: FetchAsked) -> list[Digest]:
    return [digest for piece in asked.pieces for digest in piece.chunks]


def _make_block(serving: Serving, step: Step, *, compress: bool) -> _Block:
    made = serving.make(step, compress=compress)
    parts: list[bytes | memoryview] = []
    for frame in made.frames:
        header = encode_frame(frame.digest, frame.status, len(frame.payload), frame.codec)
        parts += [header, frame.payload]
    return _Block(b"".join(parts), made.corrupt)


def _absent_block(step: Plain | Absent) -> bytes:
    return b"".join([encode_frame(ref.digest, FrameStatus.MISSING, 0) for ref in step.refs])


def _write_frames(refs: Sequence[ChunkRef], block: memoryview) -> None:
    """Put the header of each chunk's frame into the gap before it."""
    at = 0
    for ref in refs:
        block[at : at + FRAME_BYTES] = encode_frame(ref.digest, FrameStatus.CHUNK, ref.length)
        at += FRAME_BYTES + ref.length
