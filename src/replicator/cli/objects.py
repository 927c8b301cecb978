"""What `put`, `get`, `ls` and `rm` do."""

from __future__ import annotations

import asyncio
import hashlib
import json
import mimetypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from replicator.cli.exits import ExitCode, exit_code_of, report
from replicator.cli.output import pages, print_json, print_listing, short_time
from replicator.cli.place import Place
from replicator.cli.progress import ByteCounter, progress_display
from replicator.cli.tables import Column
from replicator.cli.units import bytes_text, number_of
from replicator.client.files import blocks_from, open_source, refuse_existing, save, write_blocks
from replicator.client.node import BLOCK_BYTES, Deletion, Download, Upload, counted
from replicator.kernel.digest import Digest
from replicator.kernel.errors import InvalidRequest, NotFound, ReplicatorError
from replicator.kernel.names import ObjectId
from replicator.kernel.version import VersionId
from replicator.wire.objects import ObjectInfo, PutResult
from replicator.wire.problem import problem_of

STANDARD_STREAM = "-"
PAGE_OBJECTS_MAX = 1000
_STDIN, _STDOUT = 0, 1


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
            f"stored {result.object_id}: {bytes_text(result.size)} in {number_of(result.chunks, 'chunk')}, of which "
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
            return await node.put(key, upload, bucket=place.bucket_name)


async def get(
    place: Place, object_id: str, file: str | None, *, version: str | None = None, force: bool
) -> None:
    """Fetch a version of an object to a file or to standard output."""
    key = ObjectId.parse(object_id)
    wanted = None if version is None else VersionId.parse(version)
    path = _destination(key, file)
    if path != STANDARD_STREAM:
        refuse_existing(path, overwrite=force)
    elif place.json_output:
        raise InvalidRequest("--json and the object cannot both go to standard output: name a file")
    async with (
        place.connected() as node,
        node.get(key, bucket=place.bucket_name, version=wanted) as download,
    ):
        with progress_display(f"get {key}", silent=place.json_output) as display:
            blocks = counted(download.blocks, ByteCounter(display, total=download.size))
            await (write_blocks(_STDOUT, blocks) if path == STANDARD_STREAM else save(path, blocks))
    if place.json_output:
        print(json.dumps(_described(key, download, path), ensure_ascii=False, indent=2))
    elif path != STANDARD_STREAM:
        print(f"fetched {key} to {path}: {bytes_text(download.size)}, version {download.version}")


class Group(BaseModel):
    """What ids have in common up to and with the delimiter."""

    prefix: str


class ListedPage(BaseModel):
    """Objects and groups in the order of their ids' bytes."""

    objects: list[ObjectInfo | Group]
    next_cursor: str | None


async def ls(
    place: Place, prefix: str, *, delimiter: str = "", limit: int | None, cursor: str | None
) -> None:
    """List objects and groups, a page at a time."""
    async with place.connected() as node:

        async def fetch(cursor: str | None, limit: int) -> ListedPage:
            page = await node.objects(
                bucket=place.bucket_name, prefix=prefix, delimiter=delimiter, cursor=cursor, limit=limit
            )
            listed: list[ObjectInfo | Group] = [
                *page.objects,
                *(Group(prefix=each) for each in page.prefixes),
            ]
            listed.sort(key=lambda item: _name(item).encode())
            return ListedPage(objects=listed, next_cursor=page.next_cursor)

        found = pages(fetch, cursor=cursor, limit=limit, page_items_max=PAGE_OBJECTS_MAX)
        await print_listing(found, key="objects", columns=_COLUMNS, json_output=place.json_output)


async def rm(place: Place, object_ids: Sequence[str], *, version: str | None = None) -> int:
    """Delete `object_ids`, passing over what is not there; the exit code is that of the first failure."""
    keys = [ObjectId.parse(object_id) for object_id in object_ids]
    wanted = None if version is None else VersionId.parse(version)
    if wanted is not None and len(keys) > 1:
        raise InvalidRequest("--version is of one object: name only that one")
    removed: dict[str, Deletion] = {}
    failed: list[tuple[str, ReplicatorError]] = []
    async with place.connected() as node:
        for key in keys:
            try:
                removed[key] = await node.delete(key, bucket=place.bucket_name, version=wanted)
            except ReplicatorError as error:
                failed.append((key, error))
                if not isinstance(error, NotFound):
                    break
    if place.json_output:
        failures = [{"object_id": key, **problem_of(error).model_dump()} for key, error in failed]
        told = {"removed": list(removed), "deletions": _deletions(removed), "failed": failures}
        print(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        print("".join(f"removed {_told(key, each, wanted)}\n" for key, each in removed.items()), end="")
    for _, failure in failed:
        report(failure, json_output=place.json_output)
    return exit_code_of(failed[0][1]) if failed else ExitCode.OK


def _deletions(removed: dict[str, Deletion]) -> list[dict[str, str | bool | None]]:
    return [
        {
            "object_id": key,
            "version": each.version,
            "delete_marker": each.delete_marker,
            "replaced": each.replaced,
        }
        for key, each in removed.items()
    ]


def _told(key: str, deletion: Deletion, wanted: VersionId | None) -> str:
    if wanted is not None:
        return f"{'delete marker' if deletion.delete_marker else 'version'} {deletion.version} of {key}"
    if not deletion.delete_marker:
        return key
    behind = f"kept behind delete marker {deletion.version}"
    if deletion.replaced is None:
        return f"{key}; its versions are {behind}"
    return f"{key}: its null version {deletion.replaced} is gone for good; any older version is {behind}"


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


def _name(item: ObjectInfo | Group) -> str:
    return item.prefix if isinstance(item, Group) else item.object_id


def _of_object(field: str) -> Callable[[ObjectInfo | Group], Any]:
    return lambda item: None if isinstance(item, Group) else getattr(item, field)


_COLUMNS = (
    Column("object", _name),
    Column("size", _of_object("size"), bytes_text, right=True, drop=1),
    Column("created", _of_object("created_at"), short_time, drop=2),
    Column("etag", _of_object("etag"), lambda etag: f"{etag[1:13]}…", drop=3),
)
