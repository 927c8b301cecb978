"""`/objects/{object_id}`: upload, download, delete. On bare ASGI."""

from __future__ import annotations

import json
import time
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from http import HTTPStatus

from replicator.data_plane.api import headers
from replicator.data_plane.api.address import Address, parse_address
from replicator.data_plane.api.exchange import Exchange, HeaderList
from replicator.data_plane.api.headers import ByteRange
from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.objects.service import ObjectService
from replicator.data_plane.ports import Committed, Deleted, DeleteMarker, Version
from replicator.kernel.errors import InvalidRequest, PreconditionFailed
from replicator.wire.objects import ObjectInfo

PREFIX = b"/objects/"
METHODS = "GET, HEAD, PUT, DELETE"


def describe(version: Version) -> ObjectInfo:
    """A version as the API shows it."""
    return ObjectInfo(
        bucket=version.bucket,
        object_id=version.object_id,
        version=str(version.version),
        size=version.size,
        etag=headers.etag_of(version.manifest),
        manifest=str(version.manifest),
        content_type=version.content_type,
        created_at=datetime.fromtimestamp(version.version.wall_ms / 1000, UTC),
    )


class ObjectRoutes:
    """Answers requests below `/objects/`."""

    def __init__(self, service: ObjectService, metrics: NodeMetrics) -> None:
        self._service = service
        self._new_bytes = metrics.ingested_bytes.labels("new")
        self._duplicate_bytes = metrics.ingested_bytes.labels("duplicate")

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request; errors of the tree travel to the caller."""
        address = parse_address(exchange.path[len(PREFIX) :], exchange.query)
        match exchange.method:
            case "PUT":
                await self._put(exchange, address)
            case "GET" | "HEAD":
                await self._get(exchange, address)
            case "DELETE":
                await self._delete(exchange, address)
            case _:
                await exchange.respond_method_not_allowed(METHODS)

    async def _put(self, exchange: Exchange, address: Address) -> None:
        if address.version is not None:
            raise InvalidRequest("an upload makes a version of its own: leave 'version' out")
        headers.require_body_length(exchange.headers)
        budget = self._service.budget
        async with budget.transfer(exchange.body_bytes):
            stored = await self._service.put(
                address.bucket,
                address.object_id,
                exchange.body(budget.block_bytes),
                content_type=headers.content_type(exchange.headers),
                condition=headers.put_condition(exchange.headers),
                expected=headers.expected_digest(exchange.headers),
            )
        version, added = stored.version, stored.added
        if added.bytes:
            self._new_bytes.inc(added.bytes)
        if added.bytes < version.size:
            self._duplicate_bytes.inc(version.size - added.bytes)
        status = HTTPStatus.CREATED if stored.replaced is None else HTTPStatus.OK
        await exchange.respond_json(status, _put_answer(stored), _version_headers(version))

    async def _delete(self, exchange: Exchange, address: Address) -> None:
        condition = headers.put_condition(exchange.headers)
        done = await self._service.delete(
            address.bucket, address.object_id, condition, version=address.version
        )
        await exchange.respond_empty(HTTPStatus.NO_CONTENT, _deleted_headers(done))

    async def _get(self, exchange: Exchange, address: Address) -> None:
        version = self._service.find(*address)
        asked = exchange.headers
        if b"if-match" in asked and not headers.matches(asked[b"if-match"], version.manifest, weak=False):
            raise PreconditionFailed("the object has another entity tag", version=str(version.version))
        if b"if-none-match" in asked and headers.matches(
            asked[b"if-none-match"], version.manifest, weak=True
        ):
            await exchange.respond_empty(HTTPStatus.NOT_MODIFIED, _version_headers(version))
            return
        wanted = headers.parse_range(asked, version.manifest, version.size)
        status = HTTPStatus.OK if wanted is None else HTTPStatus.PARTIAL_CONTENT
        span = wanted or ByteRange(0, version.size, version.size)
        sent = _version_headers(version)
        sent += [
            (b"content-type", version.content_type.encode()),
            (b"content-length", b"%d" % (span.stop - span.start)),
            (b"accept-ranges", b"bytes"),
        ]
        if wanted is not None:
            sent.append((b"content-range", wanted.content_range))
        if exchange.method == "HEAD":
            await exchange.respond_empty(status, sent)
        else:
            async with self._service.budget.transfer(span.stop - span.start):
                await self._stream(exchange, version, span, status, sent)

    async def _stream(
        self, exchange: Exchange, version: Version, span: ByteRange, status: int, sent: HeaderList
    ) -> None:
        # Not begun before the first block has passed its check: until then an error is still a status.
        remaining = span.stop - span.start
        async with aclosing(self._service.read(version, span.start, span.stop)) as blocks:
            async for block in blocks:
                if not exchange.started:
                    await exchange.start(status, sent)
                remaining -= len(block)
                if remaining:
                    exchange.watch_client()
                await exchange.send(block, more=remaining > 0)
        if not exchange.started:
            await exchange.respond_empty(status, sent)


def _put_answer(stored: Committed) -> bytes:
    """The JSON of a `PutResult`: spelled out, because building the model took a fifth of a small upload."""
    version = stored.version
    created = datetime.fromtimestamp(version.version.wall_ms / 1000, UTC)
    answer = {
        "bucket": version.bucket,
        "object_id": version.object_id,
        "version": str(version.version),
        "size": version.size,
        "etag": headers.etag_of(version.manifest),
        "manifest": str(version.manifest),
        "content_type": version.content_type,
        "created_at": created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "chunks": version.chunk_count,
        "chunks_new": stored.added.chunks,
        "bytes_new": stored.added.bytes,
    }
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def _version_headers(version: Version) -> HeaderList:
    return [
        (b"etag", headers.etag_of(version.manifest).encode()),
        # Another node's clock may be ahead of this one's; RFC 9110, section 8.8.2.1.
        (b"last-modified", _http_date(min(version.version.wall_ms // 1000, int(time.time())))),
        (b"x-replicator-version", str(version.version).encode()),
    ]


def _deleted_headers(done: Deleted) -> HeaderList:
    """The marker that was made, and the null version it replaced; or else what is gone for good."""
    told = done.marker or done.removed
    assert told is not None
    sent = [(b"x-replicator-version", str(told.version).encode())]
    if isinstance(told, DeleteMarker):
        sent.append((b"x-replicator-delete-marker", b"true"))
    if done.marker is not None and isinstance(done.removed, Version):
        sent.append((b"x-replicator-removed-version", str(done.removed.version).encode()))
    return sent


@lru_cache(maxsize=1024)
def _http_date(seconds: int) -> bytes:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True).encode()
