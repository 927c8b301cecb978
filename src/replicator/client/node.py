"""What a user asks of a node: objects in, out, listed and deleted."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import quote

import httpx

from replicator.client.endpoint import Deadlines, Endpoint
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, InvalidRequest
from replicator.kernel.names import ObjectId
from replicator.wire.objects import ObjectPage, PutResult

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


class NodeClient:
    """The node at a URL; an async context manager. Errors are those of `Endpoint`."""

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

    async def __aenter__(self) -> Self:
        await self._endpoint.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._endpoint.__aexit__()

    async def put(self, object_id: ObjectId, upload: Upload) -> PutResult:
        """Store a version; it is durable when this returns.

        Raises:
            InvalidRequest: the body has more or fewer bytes than `upload.size`; nothing was stored.
        """
        blocks = upload.blocks if upload.size is None else _exactly(upload.blocks, upload.size)
        return await self._endpoint.upload(
            object_path(object_id), answer=PutResult, blocks=blocks, headers=upload.all_headers()
        )

    @asynccontextmanager
    async def get(self, object_id: ObjectId) -> AsyncIterator[Download]:
        """The latest version, streamed while the context lasts."""
        async with self._endpoint.download(object_path(object_id)) as response:
            headers = response.headers
            try:
                size = int(headers["Content-Length"])
                etag, version = headers["ETag"], headers["X-Replicator-Version"]
            except (KeyError, ValueError) as error:
                raise BrokenPeer(f"{self._endpoint.base_url} does not answer as a node does") from error
            yield Download(
                size=size,
                etag=etag,
                version=version,
                content_type=headers.get("Content-Type", "application/octet-stream"),
                blocks=self._endpoint.blocks(response, block_bytes=BLOCK_BYTES),
            )

    async def delete(self, object_id: ObjectId) -> None:
        """Delete the object, or `NotFound`."""
        await self._endpoint.command("DELETE", object_path(object_id))

    async def objects(self, *, prefix: str = "", cursor: str | None = None, limit: int) -> ObjectPage:
        """At most `limit` objects whose ids begin with `prefix`, in order of their UTF-8 bytes."""
        params: dict[str, str | int] = {"prefix": prefix, "limit": limit}
        if cursor is not None:
            params["cursor"] = cursor
        return await self._endpoint.call("GET", "/objects", answer=ObjectPage, params=params)


def object_path(object_id: ObjectId) -> str:
    """The path of an object. Slashes stay as they are; every other reserved character is encoded."""
    return "/objects/" + quote(object_id, safe="/")


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
