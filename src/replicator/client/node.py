"""What a user asks of a node: objects and their versions in, out, listed, copied and deleted; buckets."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote, urlencode

import httpx

from replicator.client.endpoint import Deadlines, Endpoint
from replicator.client.upkeep import UpkeepClient
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, InvalidRequest
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.kernel.version import VersionId
from replicator.wire.buckets import BucketInfo, BucketPage, BucketSettings
from replicator.wire.manifests import VERSION_HEADER
from replicator.wire.objects import (
    DELETE_MARKER_HEADER,
    REMOVED_VERSION_HEADER,
    BucketVersionPage,
    CopyRequest,
    ObjectInfo,
    ObjectPage,
    PutResult,
    VersionPage,
)

BLOCK_BYTES = 1024 * 1024

OnBytes = Callable[[int], None]
"""Told how many bytes have gone or come so far."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A body on its way to a node.

    `size` in bytes where it is known beforehand; `digest` is checked by the node, which keeps nothing if it
    does not match; `headers` may hold conditions (`If-Match`, `If-None-Match`).
    """

    blocks: AsyncIterator[bytes]
    size: int | None = None
    content_type: str = "application/octet-stream"
    digest: Digest | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def all_headers(self) -> dict[str, str]:
        """What is sent ahead of the body."""
        headers = {"Content-Type": self.content_type, **self.headers}
        if self.size is not None:
            headers["Content-Length"] = str(self.size)
        if self.digest is not None:
            headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(self.digest).decode()}:"
        return headers


@dataclass(frozen=True, kw_only=True)
class Download:
    """An object on its way from a node; `blocks` ends only when all `size` bytes have come."""

    size: int
    etag: str
    version: str
    content_type: str
    blocks: AsyncIterator[bytes]


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What a deletion did: `version` is the delete marker that was made, or else what is gone for good.

    `replaced` is the null version that is gone for good because the marker took its place.
    """

    version: str | None
    delete_marker: bool
    replaced: str | None = None


class NodeClient:
    """The node at a URL; an async context manager. Errors are those of `Endpoint`.

    Attributes:
        upkeep: of the node's store.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str | None = None,
        deadlines: Deadlines | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        what = "the node" if name is None else f"node '{name}'"
        self._endpoint = Endpoint(base_url, what=what, deadlines=deadlines, transport=transport)
        self.upkeep = UpkeepClient(self._endpoint)

    async def __aenter__(self) -> Self:
        await self._endpoint.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._endpoint.__aexit__()

    async def put(
        self, object_id: ObjectId, upload: Upload, *, bucket: BucketName = DEFAULT_BUCKET
    ) -> PutResult:
        """Store a version; it is durable when this returns.

        Raises:
            InvalidRequest: the body has more or fewer bytes than `upload.size`; nothing was stored.
        """
        blocks = upload.blocks if upload.size is None else _exactly(upload.blocks, upload.size)
        path = object_path(object_id, bucket=bucket)
        return await self._endpoint.upload(
            path, answer=PutResult, blocks=blocks, headers=upload.all_headers()
        )

    @asynccontextmanager
    async def get(
        self, object_id: ObjectId, *, bucket: BucketName = DEFAULT_BUCKET, version: VersionId | None = None
    ) -> AsyncIterator[Download]:
        """The latest version or the one named, streamed while the context lasts."""
        path = object_path(object_id, bucket=bucket, version=version)
        async with self._endpoint.download(path) as response:
            headers = response.headers
            try:
                size = int(headers["Content-Length"])
                etag, of_version = headers["ETag"], headers[VERSION_HEADER]
            except (KeyError, ValueError) as error:
                raise BrokenPeer(f"{self._endpoint.base_url} does not answer as a node does") from error
            yield Download(
                size=size,
                etag=etag,
                version=of_version,
                content_type=headers.get("Content-Type", "application/octet-stream"),
                blocks=self._endpoint.blocks(response, block_bytes=BLOCK_BYTES),
            )

    async def delete(
        self, object_id: ObjectId, *, bucket: BucketName = DEFAULT_BUCKET, version: VersionId | None = None
    ) -> Deletion:
        """Delete the object, or one version of it for good; or `NotFound`."""
        path = object_path(object_id, bucket=bucket, version=version)
        told = await self._endpoint.command("DELETE", path)
        return Deletion(
            version=told.get(VERSION_HEADER),
            delete_marker=DELETE_MARKER_HEADER in told,
            replaced=told.get(REMOVED_VERSION_HEADER),
        )

    async def copy(self, message: CopyRequest, *, if_absent: bool = False) -> ObjectInfo:
        """Make a version the latest of another object or, to restore it, of its own; at once.

        Raises:
            PreconditionFailed: `if_absent`, and the target is there.
        """
        headers = {"If-None-Match": "*"} if if_absent else {}
        return await self._endpoint.call(
            "POST", "/copies", answer=ObjectInfo, headers=headers, message=message
        )

    async def objects(
        self,
        *,
        bucket: BucketName = DEFAULT_BUCKET,
        prefix: str = "",
        delimiter: str = "",
        cursor: str | None = None,
        limit: int,
    ) -> ObjectPage:
        """At most `limit` objects whose ids begin with `prefix`, in order of their UTF-8 bytes.

        Ids that hold `delimiter` behind the prefix are grouped; a group counts as one.
        """
        asked = {"bucket": bucket, "prefix": prefix, "delimiter": delimiter}
        params = _page(cursor, limit) | {name: value for name, value in asked.items() if value}
        return await self._endpoint.call("GET", "/objects", answer=ObjectPage, params=params)

    async def versions(
        self,
        object_id: ObjectId,
        *,
        bucket: BucketName = DEFAULT_BUCKET,
        cursor: str | None = None,
        limit: int,
    ) -> VersionPage:
        """At most `limit` versions and delete markers of an object, newest first."""
        path = "/versions/" + quote(object_id, safe="/")
        params = _page(cursor, limit) | {"bucket": bucket}
        return await self._endpoint.call("GET", path, answer=VersionPage, params=params)

    async def bucket_versions(
        self, *, bucket: BucketName = DEFAULT_BUCKET, prefix: str = "", cursor: str | None = None, limit: int
    ) -> BucketVersionPage:
        """At most `limit` versions and delete markers of a bucket, by id and of each object newest first."""
        params = _page(cursor, limit) | {"bucket": bucket} | ({"prefix": prefix} if prefix else {})
        return await self._endpoint.call("GET", "/versions", answer=BucketVersionPage, params=params)

    async def buckets(self, *, cursor: str | None = None, limit: int) -> BucketPage:
        """At most `limit` buckets in order of their names."""
        return await self._endpoint.call("GET", "/buckets", answer=BucketPage, params=_page(cursor, limit))

    async def bucket(self, name: BucketName) -> BucketInfo:
        """One bucket, or `NotFound`."""
        return await self._endpoint.call("GET", f"/buckets/{name}", answer=BucketInfo)

    async def set_bucket(self, name: BucketName, settings: BucketSettings | None = None) -> BucketInfo:
        """Make a bucket, or change what `settings` say."""
        return await self._endpoint.call("PUT", f"/buckets/{name}", answer=BucketInfo, message=settings)

    async def remove_bucket(self, name: BucketName) -> None:
        """Remove an empty bucket; or `NotFound`, `Conflict`."""
        await self._endpoint.command("DELETE", f"/buckets/{name}")


def object_path(
    object_id: ObjectId, *, bucket: BucketName = DEFAULT_BUCKET, version: VersionId | None = None
) -> str:
    """The path and query of an object. Slashes stay as they are; every other reserved character is encoded."""
    query: dict[str, str] = {} if bucket == DEFAULT_BUCKET else {"bucket": bucket}
    if version is not None:
        query["version"] = str(version)
    path = "/objects/" + quote(object_id, safe="/")
    return f"{path}?{urlencode(query)}" if query else path


def _page(cursor: str | None, limit: int) -> dict[str, str | int]:
    return {"limit": limit} if cursor is None else {"limit": limit, "cursor": cursor}


async def counted(blocks: AsyncIterator[bytes], on_bytes: OnBytes) -> AsyncIterator[bytes]:
    """`blocks`, telling `on_bytes` after each."""
    done = 0
    async for block in blocks:
        done += len(block)
        yield block
        on_bytes(done)


async def _exactly(blocks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    done = 0
    async for block in blocks:
        done += len(block)
        if done > size:
            break
        yield block
    if done != size:
        direction = "grew" if done > size else f"ended after {done} bytes"
        raise InvalidRequest(f"the source changed while it was read: it had {size} bytes and {direction}")
