"""What `versions` and `cp` do."""

from __future__ import annotations

from replicator.cli.output import pages, print_json, print_listing, short_time
from replicator.cli.place import Place
from replicator.cli.tables import Column
from replicator.cli.units import bytes_text
from replicator.kernel.errors import InvalidRequest
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionId
from replicator.wire.objects import (
    BucketVersionPage,
    CopyRequest,
    CopySource,
    CopyTarget,
    VersionInfo,
    VersionPage,
)

PAGE_VERSIONS_MAX = 1000


async def versions(
    place: Place, object_id: str | None, *, prefix: str, limit: int | None, cursor: str | None
) -> None:
    """List the versions of an object, or of all objects of a bucket, a page at a time."""
    if object_id is None:
        await _of_bucket(place, prefix, limit=limit, cursor=cursor)
        return
    if prefix:
        raise InvalidRequest("--prefix is of many objects: give it without OBJECT_ID")
    key = ObjectId.parse(object_id)
    async with place.connected() as node:

        async def fetch(cursor: str | None, limit: int) -> VersionPage:
            return await node.versions(key, bucket=place.bucket_name, cursor=cursor, limit=limit)

        found = pages(fetch, cursor=cursor, limit=limit, page_items_max=PAGE_VERSIONS_MAX)
        await print_listing(found, key="versions", columns=_COLUMNS, json_output=place.json_output)


async def _of_bucket(place: Place, prefix: str, *, limit: int | None, cursor: str | None) -> None:
    async with place.connected() as node:

        async def fetch(cursor: str | None, limit: int) -> BucketVersionPage:
            return await node.bucket_versions(
                bucket=place.bucket_name, prefix=prefix, cursor=cursor, limit=limit
            )

        found = pages(fetch, cursor=cursor, limit=limit, page_items_max=PAGE_VERSIONS_MAX)
        columns = (Column("object", lambda item: item.object_id), *_COLUMNS)
        await print_listing(found, key="versions", columns=columns, json_output=place.json_output)


async def cp(
    place: Place,
    source: str,
    target: str,
    *,
    version: str | None,
    to_bucket: str | None,
    if_absent: bool,
) -> None:
    """Copy a version of an object to an object of the same node."""
    wanted = None if version is None else str(VersionId.parse(version))
    bucket = place.bucket_name if to_bucket is None else BucketName.parse(to_bucket)
    asked = CopyRequest(
        source=CopySource(bucket=place.bucket_name, object_id=ObjectId.parse(source), version=wanted),
        target=CopyTarget(bucket=bucket, object_id=ObjectId.parse(target)),
    )
    async with place.connected() as node:
        made = await node.copy(asked, if_absent=if_absent)
    if place.json_output:
        print_json(made)
    else:
        print(f"copied {source} to {made.object_id}: {bytes_text(made.size)}, version {made.version}")


def _kind(item: VersionInfo) -> str:
    kind = "delete marker" if item.delete_marker else "version"
    return f"latest {kind}" if item.latest else kind


_COLUMNS = (
    Column("version", lambda item: item.version),
    Column("kind", _kind),
    Column("size", lambda item: item.size, bytes_text, right=True, drop=1),
    Column("created", lambda item: item.created_at, short_time, drop=2),
    Column("etag", lambda item: item.etag, lambda etag: f"{etag[1:13]}…", drop=3),
)
