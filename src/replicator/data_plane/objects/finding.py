"""Which version a request is about, and why there is none."""

from __future__ import annotations

from urllib.parse import quote

from replicator.data_plane.ports import DeleteMarker, Store, Version
from replicator.kernel.errors import IsDeleteMarker, NotFound, ObjectDeleted
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.kernel.version import VersionId


def find_version(
    store: Store, bucket: BucketName, object_id: ObjectId, version: VersionId | None = None
) -> Version:
    """The latest version of an object, or the one named.

    Raises:
        NotFound: there is no such bucket, object or version.
        ObjectDeleted: the newest version is a delete marker.
        IsDeleteMarker: the version named is one.
    """
    if version is None:
        latest = store.head(bucket, object_id)
        return latest if latest is not None else _absent(store, bucket, object_id)
    found = store.version(bucket, object_id, version)
    if isinstance(found, DeleteMarker):
        raise IsDeleteMarker(
            f"version {version} of '{object_id}' is a delete marker: it has no content and can only be removed",
            object_id=str(object_id),
            version=str(version),
        )
    if found is None:
        store.bucket(bucket)
        raise NotFound(
            f"'{object_id}' has no version {version} on this node; {_listing(bucket, object_id)} lists those it has",
            object_id=str(object_id),
            version=str(version),
        )
    return found


def _absent(store: Store, bucket: BucketName, object_id: ObjectId) -> Version:
    store.bucket(bucket)
    newest = store.versions(bucket, object_id, None, 1)
    if newest:
        raise ObjectDeleted(
            f"'{object_id}' is deleted; {_listing(bucket, object_id)} lists what is kept of it",
            object_id=str(object_id),
            version=str(newest[0].version),
        )
    raise NotFound(f"there is no object '{object_id}' on this node", object_id=str(object_id))


def _listing(bucket: BucketName, object_id: ObjectId) -> str:
    """The request that lists the versions of an object."""
    query = "" if bucket == DEFAULT_BUCKET else f"?bucket={bucket}"
    return f"GET /versions/{quote(object_id)}{query}"
