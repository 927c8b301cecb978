"""`/objects/{object_id}`: upload, download, delete. On bare ASGI."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from http import HTTPStatus

from replicator.data_plane.api import headers
from replicator.data_plane.api.exchange import Exchange, HeaderList
from replicator.data_plane.api.headers import ByteRange
from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.objects.service import ObjectService
from replicator.data_plane.ports import Committed, Version
from replicator.kernel.errors import NotFound, PreconditionFailed
from replicator.kernel.names import ObjectId
from replicator.wire.objects import ObjectInfo

PREFIX = b"/objects/"
METHODS = "GET, HEAD, PUT, DELETE"


def describe(version: Version) -> ObjectInfo:
    """A version as the API shows it."""
    return ObjectInfo(
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
        object_id = headers.parse_object_id(exchange.path[len(PREFIX) :])
        match exchange.method:
            case "PUT":
                await self._put(exchange, object_id)
            case "GET" | "HEAD":
                await self._get(exchange, object_id)
            case "DELETE":
                await self._service.delete(object_id, headers.put_condition(exchange.headers))
                await exchange.respond_empty(HTTPStatus.NO_CONTENT, [])
            case _:
                await exchange.respond_method_not_allowed(METHODS)

    async def _put(self, exchange: Exchange, object_id: ObjectId) -> None:
        headers.require_body_length(exchange.headers)
        stored = await self._service.put(
            object_id,
            exchange.body(self._service.budget.block_bytes),
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

    async def _get(self, exchange: Exchange, object_id: ObjectId) -> None:
        version = self._service.head(object_id)
        if version is None:
            raise NotFound(f"there is no object '{object_id}' on this node", object_id=str(object_id))
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
            await self._stream(exchange, version, span, status, sent)

    async def _stream(
        self, exchange: Exchange, version: Version, span: ByteRange, status: int, sent: HeaderList
    ) -> None:
        # Not begun before the first block has passed its check: until then an error is still a status.
        remaining = span.stop - span.start
        async for block in self._service.read(version, span.start, span.stop):
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


@lru_cache(maxsize=1024)
def _http_date(seconds: int) -> bytes:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True).encode()
