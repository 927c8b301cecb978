"""What `put`, `get`, `ls` and `rm` do."""

from __future__ import annotations

import asyncio
import hashlib
import json
import mimetypes
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from replicator.cli.exits import ExitCode, exit_code_of, report
from replicator.cli.output import Column, local_time, pages, print_json, print_listing
from replicator.cli.progress import ByteCounter, progress_display
from replicator.cli.units import bytes_text
from replicator.client.control_plane import ControlPlaneClient
from replicator.client.files import blocks_from, open_source, refuse_existing, save, write_blocks
from replicator.client.node import BLOCK_BYTES, Download, NodeClient, Upload, counted
from replicator.kernel.digest import Digest
from replicator.kernel.errors import InvalidRequest, NotFound, ReplicatorError
from replicator.kernel.names import NodeName, ObjectId
from replicator.wire.objects import ObjectInfo, ObjectPage, PutResult
from replicator.wire.problem import problem_of

STANDARD_STREAM = "-"
PAGE_OBJECTS_MAX = 1000
_STDIN, _STDOUT = 0, 1


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which node a command is about, and how it prints."""

    node: str
    control_plane: str
    json_output: bool

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[NodeClient]:
        """A client of the node: at its URL, or where the control plane says the name is."""
        url, name = self.node, None
        if "://" not in self.node:
            name = NodeName.parse(self.node)
            async with ControlPlaneClient(self.control_plane) as control_plane:
                url = (await control_plane.node(name)).base_url
        async with NodeClient(url, name=name) as client:
            yield client


@dataclass(frozen=True, kw_only=True)
class PutOptions:
    """How to store; see the help of `replicator put`."""

    content_type: str | None = None
    checksum: bool = False
    if_absent: bool = False
    if_match: str | None = None

    def conditions(self) -> dict[str, str]:
        """As headers."""
        headers = {"If-None-Match": "*"} if self.if_absent else {}
        if self.if_match is not None:
            # The quotes of an entity tag are easily lost in a shell.
            headers["If-Match"] = self.if_match if '"' in self.if_match else f'"{self.if_match}"'
        return headers


async def put(place: Place, file: str, object_id: str | None, options: PutOptions) -> None:
    """Store `file`, or standard input, and print what the node says."""
    standard_input = file == STANDARD_STREAM
    if standard_input and (object_id is None or options.checksum):
        raise InvalidRequest(
            "standard input has no name: give an OBJECT_ID after '-'"
            if object_id is None
            else "--checksum reads a file twice, which standard input does not allow"
        )
    key = ObjectId.parse(object_id if object_id is not None else os.path.basename(file))
    descriptor, size = (_STDIN, None) if standard_input else open_source(file)
    try:
        result = await _put_open(place, key, descriptor, size, options)
    finally:
        if not standard_input:
            os.close(descriptor)
    if place.json_output:
        print_json(result)
    else:
        print(
            f"stored {result.object_id}: {bytes_text(result.size)} in {result.chunks:,} chunks, of which "
            f"{result.chunks_new:,} ({bytes_text(result.bytes_new)}) were new; version {result.version}"
        )


async def _put_open(
    place: Place, key: ObjectId, descriptor: int, size: int | None, options: PutOptions
) -> PutResult:
    digest = await asyncio.to_thread(_sha256, descriptor) if options.checksum else None
    async with place.connected() as node:
        with progress_display(f"put {key}", silent=place.json_output) as display:
            counter = ByteCounter(display, total=size)
            upload = Upload(
                blocks=counted(blocks_from(descriptor), counter),
                size=size,
                content_type=options.content_type or _guessed_type(key),
                digest=digest,
                headers=options.conditions(),
            )
            return await node.put(key, upload)


async def get(place: Place, object_id: str, file: str | None, *, force: bool) -> None:
    """Fetch an object to a file or to standard output."""
    key = ObjectId.parse(object_id)
    path = _destination(key, file)
    if path != STANDARD_STREAM:
        refuse_existing(path, overwrite=force)
    elif place.json_output:
        raise InvalidRequest("--json and the object cannot both go to standard output: name a file")
    async with place.connected() as node, node.get(key) as download:
        with progress_display(f"get {key}", silent=place.json_output) as display:
            blocks = counted(download.blocks, ByteCounter(display, total=download.size))
            await (write_blocks(_STDOUT, blocks) if path == STANDARD_STREAM else save(path, blocks))
    if place.json_output:
        print(json.dumps(_described(key, download, path), ensure_ascii=False, indent=2))
    elif path != STANDARD_STREAM:
        print(f"fetched {key} to {path}: {bytes_text(download.size)}, version {download.version}")


async def ls(place: Place, prefix: str, *, limit: int | None, cursor: str | None) -> None:
    """List objects, a page at a time."""
    async with place.connected() as node:

        async def fetch(cursor: str | None, limit: int) -> ObjectPage:
            return await node.objects(prefix=prefix, cursor=cursor, limit=limit)

        found = pages(fetch, cursor=cursor, limit=limit, page_items_max=PAGE_OBJECTS_MAX)
        await print_listing(found, key="objects", columns=_COLUMNS, json_output=place.json_output)


async def rm(place: Place, object_ids: Sequence[str]) -> int:
    """Delete `object_ids`, passing over what is not there; the exit code is that of the first failure."""
    keys = [ObjectId.parse(object_id) for object_id in object_ids]
    removed: list[str] = []
    failed: list[tuple[str, ReplicatorError]] = []
    async with place.connected() as node:
        for key in keys:
            try:
                await node.delete(key)
            except ReplicatorError as error:
                failed.append((key, error))
                if not isinstance(error, NotFound):
                    break
            else:
                removed.append(key)
    if place.json_output:
        failures = [{"object_id": key, **problem_of(error).model_dump()} for key, error in failed]
        print(json.dumps({"removed": removed, "failed": failures}, ensure_ascii=False, indent=2))
    else:
        print("".join(f"removed {key}\n" for key in removed), end="")
    for _, failure in failed:
        report(failure, json_output=place.json_output)
    return exit_code_of(failed[0][1]) if failed else ExitCode.OK


def _destination(key: ObjectId, file: str | None) -> str:
    if file is not None and file != STANDARD_STREAM and not os.path.isdir(file):
        return file
    if file == STANDARD_STREAM:
        return file
    name = key.rpartition("/")[2]
    if not name:
        raise InvalidRequest(f"'{key}' ends with a slash and so gives no file name: name a file")
    return os.path.join(file or "", name)


def _described(key: ObjectId, download: Download, path: str) -> dict[str, str | int]:
    return {
        "object_id": key,
        "size": download.size,
        "etag": download.etag,
        "version": download.version,
        "content_type": download.content_type,
        "file": path,
    }


def _guessed_type(key: ObjectId) -> str:
    kind, encoding = mimetypes.guess_type(key)
    return kind if kind is not None and encoding is None else "application/octet-stream"


def _sha256(descriptor: int) -> Digest:
    hashed, offset = hashlib.sha256(), 0
    while block := os.pread(descriptor, BLOCK_BYTES, offset):
        hashed.update(block)
        offset += len(block)
    return Digest(hashed.digest())


def _size(item: ObjectInfo) -> int:
    return item.size


_COLUMNS = (
    Column("object", lambda item: item.object_id),
    Column("size", _size, bytes_text, right=True),
    Column("created", lambda item: item.created_at, local_time),
    Column("etag", lambda item: item.etag, lambda etag: f"{etag[1:13]}…"),
)
