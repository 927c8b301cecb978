"""Whether a version that is not here has been overtaken by what is."""

from __future__ import annotations

from collections.abc import Iterator

from replicator.data_plane.ports import DeleteMarker, Store, Version, Versioning
from replicator.data_plane.replication.ports import Entry
from replicator.kernel.errors import NotFound
from replicator.kernel.names import BucketName
from replicator.kernel.version import VersionId

_PAGE = 64


def is_superseded(store: Store, bucket: BucketName, entry: Entry, *, all_versions: bool) -> bool:
    """Whether bringing `entry` here would change nothing or be refused.

    Of latest versions: it would lie below a newer delete marker. Of any: it would be a null version, and a newer
    one, or a null marker, is here.
    """
    try:
        versioning = store.bucket(bucket).versioning
    except NotFound:
        return False
    if not all_versions:
        # Without versioning there are no markers.
        return versioning is not Versioning.OFF and any(_newer(store, bucket, entry))
    return versioning is not Versioning.ON and any(each.null for each in _newer(store, bucket, entry))


def _newer(store: Store, bucket: BucketName, entry: Entry) -> Iterator[Version | DeleteMarker]:
    after: VersionId | None = None
    while page := store.versions(bucket, entry.object_id, after, _PAGE):
        for version in page:
            if version.version <= entry.version:
                return
            yield version
        after = page[-1].version
