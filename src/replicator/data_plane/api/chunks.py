"""`/chunks/{digest}`: single chunks. On bare ASGI."""

from __future__ import annotations

from contextlib import aclosing
from http import HTTPStatus

from replicator.data_plane.api.exchange import Exchange
from replicator.data_plane.objects.service import Batch, ObjectService
from replicator.kernel.digest import Digest
from replicator.kernel.errors import DigestMismatch, InvalidRequest, NotFound
from replicator.kernel.manifest import ChunkRef

PREFIX = b"/chunks/"
METHODS = "GET, HEAD, PUT"


class ChunkRoutes:
    """Answers requests below `/chunks/`."""

    def __init__(self, service: ObjectService) -> None:
        self._service = service

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request; errors of the tree travel to the caller."""
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
