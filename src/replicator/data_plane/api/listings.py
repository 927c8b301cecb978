"""`GET /objects`, `GET /versions` and `GET /versions/{object_id}`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import FastAPI, Query

from replicator.data_plane.api.headers import etag_of
from replicator.data_plane.api.objects import describe
from replicator.data_plane.api.parameters import (
    Cursor,
    InBucket,
    Limit,
    ObjectIdInPath,
    decode_cursor,
    encode_cursor,
)
from replicator.data_plane.ports import DeleteMarker, Store, Version
from replicator.kernel.errors import NotFound
from replicator.kernel.names import OBJECT_ID_BYTES_MAX, ObjectId
from replicator.kernel.version import VersionId
from replicator.wire.objects import BucketVersionPage, ListedVersion, ObjectPage, VersionInfo, VersionPage

Prefix = Annotated[str, Query(max_length=OBJECT_ID_BYTES_MAX)]


def add_listings(app: FastAPI, store: Store) -> None:
    """Serve the listings of objects and of versions."""
    _add_objects(app, store)
    _add_versions(app, store)


def _add_objects(app: FastAPI, store: Store) -> None:
    @app.get("/objects", tags=["objects"], summary="List objects")
    def list_objects(
        bucket: InBucket,
        prefix: Prefix = "",
        delimiter: Annotated[
            str,
            Query(max_length=OBJECT_ID_BYTES_MAX, description="Groups ids that hold it behind the prefix."),
        ] = "",
        cursor: Cursor = None,
        limit: Limit = 100,
    ) -> ObjectPage:
        """Objects whose ids begin with `prefix`, in byte order, a page at a time; a group counts as one."""
        page = store.list_objects(
            bucket, prefix, delimiter=delimiter, after=decode_cursor(cursor), limit=limit
        )
        return ObjectPage(
            objects=[describe(version) for version in page.versions],
            prefixes=page.prefixes,
            next_cursor=None if page.after is None else encode_cursor(page.after),
        )


def _add_versions(app: FastAPI, store: Store) -> None:
    @app.get("/versions", tags=["objects"], summary="List the versions of a bucket")
    def list_bucket_versions(
        bucket: InBucket, prefix: Prefix = "", cursor: Cursor = None, limit: Limit = 100
    ) -> BucketVersionPage:
        """All versions and delete markers, by id and of each object newest first, a page at a time."""
        after = None if cursor is None else _decode_place(cursor)
        found = store.bucket_versions(bucket, prefix, after, limit + 1)
        shown = found[:limit]
        return BucketVersionPage(
            bucket=bucket,
            versions=_listed(shown, None if after is None else after[0]),
            next_cursor=_encode_place(shown[-1]) if len(found) > limit else None,
        )

    @app.get("/versions/{object_id:text}", tags=["objects"], summary="List the versions of an object")
    def list_versions(
        object_id: ObjectIdInPath, bucket: InBucket, cursor: Cursor = None, limit: Limit = 100
    ) -> VersionPage:
        """Versions and delete markers, newest first, a page at a time."""
        after = None if cursor is None else VersionId.parse(cursor)
        found = list(store.versions(bucket, object_id, after, limit + 1))
        if not found and after is None:
            store.bucket(bucket)
            raise NotFound(f"there is no object '{object_id}' on this node", object_id=str(object_id))
        shown = found[:limit]
        return VersionPage(
            bucket=bucket,
            object_id=object_id,
            versions=[describe_version(each, latest=after is None and each is found[0]) for each in shown],
            next_cursor=str(shown[-1].version) if len(found) > limit else None,
        )


def describe_version(each: Version | DeleteMarker, *, latest: bool) -> VersionInfo:
    """A version or delete marker as the API shows it."""
    info = VersionInfo(
        version=str(each.version),
        latest=latest,
        null=each.null,
        delete_marker=isinstance(each, DeleteMarker),
        created_at=datetime.fromtimestamp(each.version.wall_ms / 1000, UTC),
    )
    if isinstance(each, Version):
        info.size = each.size
        info.etag = etag_of(each.manifest)
        info.manifest = str(each.manifest)
        info.content_type = each.content_type
    return info


def _listed(shown: Sequence[Version | DeleteMarker], before: ObjectId | None) -> list[ListedVersion]:
    """`shown` as the API shows it; `before` is the object that the page before ended in."""
    listed = []
    for each in shown:
        told = describe_version(each, latest=each.object_id != before)
        listed.append(ListedVersion(object_id=each.object_id, **told.model_dump()))
        before = each.object_id
    return listed


def _encode_place(last: Version | DeleteMarker) -> str:
    return f"{last.version}-{encode_cursor(last.object_id)}"


def _decode_place(cursor: str) -> tuple[ObjectId, VersionId]:
    """From `_encode_place`; raises `InvalidRequest`."""
    version, _, object_id = cursor.partition("-")
    return ObjectId.parse(decode_cursor(object_id) or ""), VersionId.parse(version)
