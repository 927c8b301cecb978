"""`/buckets`: what holds objects, and whether it keeps their versions."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, FastAPI, Path, Response

from replicator.data_plane.api.parameters import Cursor, Limit
from replicator.data_plane.ports import Bucket, Store, Versioning
from replicator.kernel.errors import NotFound
from replicator.kernel.names import BucketName
from replicator.wire.buckets import BucketInfo, BucketPage, BucketSettings


async def _name(name: Annotated[str, Path(examples=["backups"])]) -> BucketName:
    return BucketName.parse(name)


Name = Annotated[BucketName, Depends(_name)]


def add_buckets(app: FastAPI, store: Store) -> None:
    """Serve buckets."""

    @app.get("/buckets", tags=["buckets"], summary="List buckets")
    def list_buckets(cursor: Cursor = None, limit: Limit = 100) -> BucketPage:
        """Buckets in byte order of their names, a page at a time."""
        after = None if cursor is None else BucketName.parse(cursor)
        found = list(store.buckets(after, limit + 1))
        shown = found[:limit]
        return BucketPage(
            buckets=[_describe(bucket) for bucket in shown],
            next_cursor=shown[-1].name if len(found) > limit else None,
        )

    @app.get("/buckets/{name}", tags=["buckets"], summary="Show a bucket")
    def show_bucket(name: Name) -> BucketInfo:
        """Its versioning, and since when it exists."""
        return _describe(store.bucket(name))

    @app.put(
        "/buckets/{name}",
        tags=["buckets"],
        summary="Make or change a bucket",
        responses={HTTPStatus.CREATED: {"model": BucketInfo, "description": "Made."}},
    )
    def set_bucket(name: Name, response: Response, settings: BucketSettings | None = None) -> BucketInfo:
        """Without a body a new bucket has versioning off, and one that exists stays as it is.

        Versioning that was on can be suspended, not turned off.
        """
        known = _known(store, name)
        if known is None:
            response.status_code = HTTPStatus.CREATED
        elif settings is None:
            return _describe(known)
        versioning = Versioning.OFF if settings is None else Versioning(settings.versioning)
        return _describe(store.set_bucket(name, versioning))

    @app.delete(
        "/buckets/{name}",
        tags=["buckets"],
        summary="Remove a bucket",
        status_code=HTTPStatus.NO_CONTENT,
    )
    def remove_bucket(name: Name) -> None:
        """409 unless it is empty of versions and delete markers."""
        store.remove_bucket(name)


def _known(store: Store, name: BucketName) -> Bucket | None:
    try:
        return store.bucket(name)
    except NotFound:
        return None


def _describe(bucket: Bucket) -> BucketInfo:
    return BucketInfo(
        name=bucket.name,
        versioning=bucket.versioning.value,
        created_at=datetime.fromtimestamp(bucket.created_ms / 1000, UTC),
    )
