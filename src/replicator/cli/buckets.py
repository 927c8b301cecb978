"""What `buckets ls`, `create`, `set` and `rm` do."""

from __future__ import annotations

import json

from replicator.cli.output import local_time, pages, print_json, print_listing
from replicator.cli.place import Place
from replicator.cli.tables import Column
from replicator.client.node import NodeClient
from replicator.kernel.errors import Conflict, NotFound
from replicator.kernel.names import BucketName
from replicator.wire.buckets import BucketInfo, BucketPage, BucketSettings, VersioningState

PAGE_BUCKETS_MAX = 1000


async def ls(place: Place, *, limit: int | None, cursor: str | None) -> None:
    """List buckets, a page at a time."""
    async with place.connected() as node:

        async def fetch(cursor: str | None, limit: int) -> BucketPage:
            return await node.buckets(cursor=cursor, limit=limit)

        found = pages(fetch, cursor=cursor, limit=limit, page_items_max=PAGE_BUCKETS_MAX)
        await print_listing(found, key="buckets", columns=_COLUMNS, json_output=place.json_output)


async def create(place: Place, name: str, versioning: VersioningState) -> None:
    """Make a bucket; one that is there already is a conflict."""
    bucket = BucketName.parse(name)
    async with place.connected() as node:
        await _require_absent(node, bucket)
        made = await node.set_bucket(bucket, BucketSettings(versioning=versioning))
    _print(place, made, "made")


async def change(place: Place, name: str, versioning: VersioningState) -> None:
    """Change the versioning of a bucket that is there."""
    bucket = BucketName.parse(name)
    async with place.connected() as node:
        await node.bucket(bucket)
        changed = await node.set_bucket(bucket, BucketSettings(versioning=versioning))
    _print(place, changed, "changed")


async def rm(place: Place, name: str) -> None:
    """Remove an empty bucket."""
    async with place.connected() as node:
        await node.remove_bucket(BucketName.parse(name))
    print(json.dumps({"removed": name}) if place.json_output else f"removed {name}")


async def _require_absent(node: NodeClient, bucket: BucketName) -> None:
    try:
        await node.bucket(bucket)
    except NotFound:
        return
    raise Conflict(f"there is a bucket '{bucket}' already; 'replicator buckets set' changes it")


def _print(place: Place, bucket: BucketInfo, done: str) -> None:
    if place.json_output:
        print_json(bucket)
    else:
        print(f"{done} {bucket.name}: versioning {bucket.versioning}")


_COLUMNS = (
    Column("bucket", lambda item: item.name),
    Column("versioning", lambda item: item.versioning),
    Column("created", lambda item: item.created_at, local_time),
)
