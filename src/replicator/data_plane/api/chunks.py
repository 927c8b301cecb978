"""`/chunks/{digest}` and the batch that pulls use, `POST /chunks/fetch`. On bare ASGI."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from http import HTTPStatus

from replicator.data_plane.api.exchange import Exchange
from replicator.data_plane.objects.service import Batch, ObjectService
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import Corrupt, DigestMismatch, InvalidRequest, NotFound
from replicator.kernel.manifest import ChunkRef
from replicator.wire import frames
from replicator.wire.frames import FRAME_BYTES, FrameStatus

PREFIX = b"/chunks/"
FETCH_PATH = b"/chunks/fetch"
METHODS = "GET, HEAD, PUT"


class ChunkRoutes:
    """Answers requests below `/chunks/`."""

    def __init__(self, service: ObjectService) -> None:
        self._service = service

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request; errors of the tree travel to the caller."""
        if exchange.path == FETCH_PATH:
            if exchange.method == "POST":
                await self._fetch(exchange)
            else:
                await exchange.respond_method_not_allowed("POST")
            return
        digest = Digest.parse(exchange.path[len(PREFIX) :].decode("ascii", "replace"))
        match exchange.method:
            case "GET" | "HEAD":
                await self._get(exchange, digest)
            case "PUT":
                async with self._service.budget.transfer(exchange.body_bytes):
                    await self._put(exchange, digest)
            case _:
                await exchange.respond_method_not_allowed(METHODS)

    async def _get(self, exchange: Exchange, digest: Digest) -> None:
        with self._service.store.hold(f"read of chunk {digest}") as hold:
            await self._answer_get(exchange, digest, self._service.store.locate([digest], hold=hold)[0])

    async def _answer_get(self, exchange: Exchange, digest: Digest, length: int | None) -> None:
        if length is None:
            raise NotFound(f"chunk {digest} is not on this node", digest=str(digest))
        sent = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", b"%d" % length),
            (b"etag", f'"{digest}"'.encode()),
            (b"cache-control", b"public, max-age=31536000, immutable"),
        ]
        if exchange.method == "HEAD":
            await exchange.respond_empty(HTTPStatus.OK, sent)
            return
        batch = Batch([ChunkRef(digest, length)], 0, length)
        async with (
            self._service.budget.transfer(length),
            aclosing(self._service.read_ahead(iter([batch]))) as blocks,
        ):
            async for _, block in blocks:
                await exchange.start(HTTPStatus.OK, sent)
                await exchange.send(block, more=False)

    async def _put(self, exchange: Exchange, digest: Digest) -> None:
        body = await exchange.short_body(self._service.store.chunking.chunk_bytes_max)
        if not body:
            raise InvalidRequest("a chunk has at least one byte")
        actual = Digest.of(body)
        if actual != digest:
            raise DigestMismatch(
                "the body does not hash to the digest in the path; nothing was kept",
                expected=str(digest),
                actual=str(actual),
            )
        new = await self._service.put_chunk(digest, body)
        await exchange.respond_empty(
            HTTPStatus.CREATED if new else HTTPStatus.NO_CONTENT, [(b"content-length", b"0")] if new else []
        )

    async def _fetch(self, exchange: Exchange) -> None:
        wanted = frames.decode_wanted(await exchange.short_body(frames.FETCH_DIGESTS_MAX * DIGEST_BYTES))
        with self._service.store.hold("fetch by another node") as hold:
            lengths = await self._service.locate(wanted, hold)
            async with self._service.budget.transfer(None):
                await self._answer_fetch(exchange, list(zip(wanted, lengths, strict=True)))

    async def _answer_fetch(self, exchange: Exchange, located: list[tuple[Digest, int | None]]) -> None:
        total = sum(FRAME_BYTES + (length or 0) for _, length in located)
        await exchange.start(
            HTTPStatus.OK,
            [
                (b"content-type", frames.MEDIA_TYPE.encode()),
                (b"content-length", b"%d" % total),
            ],
        )
        exchange.watch_client()
        remaining = total
        for present, run in _runs(located):
            if not present:
                block = b"".join(frames.encode_frame(ref.digest, FrameStatus.MISSING, 0) for ref in run)
                remaining -= len(block)
                await exchange.send(block, more=remaining > 0)
                continue
            remaining = await self._send_chunks(exchange, run, remaining)

    async def _send_chunks(self, exchange: Exchange, run: Sequence[ChunkRef], remaining: int) -> int:
        batches = _batches(run, self._service.budget.block_bytes)
        try:
            async with aclosing(self._service.read_ahead(batches, gap=FRAME_BYTES)) as blocks:
                async for batch, block in blocks:
                    _write_frames(batch.refs, block)
                    remaining -= len(block)
                    await exchange.send(block, more=remaining > 0)
        except Corrupt as error:
            if "digest" in error.data:
                await _send_corrupt(exchange, Digest.parse(error.data["digest"]))
            raise
        return remaining


def _write_frames(refs: Sequence[ChunkRef], block: memoryview) -> None:
    """Put the header of each chunk's frame into the gap before it."""
    at = 0
    for ref in refs:
        block[at : at + FRAME_BYTES] = frames.encode_frame(ref.digest, FrameStatus.CHUNK, ref.length)
        at += FRAME_BYTES + ref.length


async def _send_corrupt(exchange: Exchange, digest: Digest) -> None:
    """Say which chunk it is; the error that follows cuts the response short."""
    await exchange.send(frames.encode_frame(digest, FrameStatus.CORRUPT, 0), more=True)


def _runs(located: list[tuple[Digest, int | None]]) -> Iterator[tuple[bool, list[ChunkRef]]]:
    """Neighbours that are all here, or all missing."""
    run: list[ChunkRef] = []
    present = False
    for digest, length in located:
        if run and present != (length is not None):
            yield present, run
            run = []
        present = length is not None
        run.append(ChunkRef(digest, length or 0))
    if run:
        yield present, run


def _batches(run: Sequence[ChunkRef], block_bytes: Callable[[], int]) -> Iterator[Batch]:
    refs: list[ChunkRef] = []
    length = 0
    for ref in run:
        refs.append(ref)
        length += ref.length
        if length >= block_bytes():
            yield Batch(refs, 0, length)
            refs, length = [], 0
    if refs:
        yield Batch(refs, 0, length)
