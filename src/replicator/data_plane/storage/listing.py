"""Listing a bucket: a page costs by its length, whatever the bucket holds."""

from __future__ import annotations

from collections.abc import Iterator

from replicator.data_plane.ports import Listing, Scanned, Version
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import Catalog
from replicator.kernel.names import BucketName
from replicator.kernel.version import VERSION_ID_BYTES

# Greater than every byte of UTF-8, so it ends the range of keys with a common prefix.
_PAST = b"\xff"
_BEHIND_OBJECT = b"\0"
# Greater than every version of the object, smaller than the next object.
_BEHIND_VERSIONS = b"\0" + (VERSION_ID_BYTES + 1) * _PAST


def list_objects(
    catalog: Catalog, bucket: BucketName, prefix: str, *, delimiter: str, after: str | None, limit: int
) -> Listing:
    """See `Store.list`.

    Only the latest versions have rows in the family that is read, so none is skipped; behind an id that
    belongs to a group the whole group is jumped over.
    """
    if "\0" in prefix:
        # No id holds the separator, but keys do.
        return Listing([], [], None)
    versions: list[Version] = []
    prefixes: list[str] = []
    start = None if after is None else _past(bucket, after, prefix, delimiter)

    def behind_group(key: bytes) -> bytes | None:
        group = _group(rows.object_of_head(key), prefix, delimiter)
        return None if group is None else _past(bucket, group, prefix, delimiter)

    skip = behind_group if delimiter else None
    for key, row in catalog.scan("heads", rows.object_prefix(bucket, prefix), start, skip):
        if len(versions) + len(prefixes) == limit:
            return Listing(versions, prefixes, _last(versions, prefixes))
        group = _group(rows.object_of_head(key), prefix, delimiter)
        if group is None:
            versions.append(rows.decode_head(key, row))
        else:
            prefixes.append(group)
    return Listing(versions, prefixes, None)


def scan_heads(
    catalog: Catalog, bucket: BucketName, prefix: str, *, after: str, until: str
) -> Iterator[Scanned]:
    """See `Store.scan`, latest versions."""
    skipped = len(rows.bucket_prefix(bucket))
    start = rows.object_prefix(bucket, after) + _BEHIND_OBJECT
    for key, row in catalog.scan("heads", rows.object_prefix(bucket, prefix), start):
        object_id = key[skipped:].decode()
        if until and object_id > until:
            return
        yield rows.scan_version_row(object_id, row[:VERSION_ID_BYTES], row[VERSION_ID_BYTES:])


def scan_versions(
    catalog: Catalog, bucket: BucketName, prefix: str, *, after: str, until: str
) -> Iterator[Scanned]:
    """See `Store.scan`, all versions."""
    skipped = len(rows.bucket_prefix(bucket))
    start = rows.object_prefix(bucket, after) + _BEHIND_VERSIONS
    for key, row in catalog.scan("versions", rows.object_prefix(bucket, prefix), start):
        object_id = key[skipped : -VERSION_ID_BYTES - 1].decode()
        if until and object_id > until:
            return
        version = rows.invert_version(key[-VERSION_ID_BYTES:])
        yield rows.scan_version_row(object_id, version, row)


def _group(object_id: str, prefix: str, delimiter: str) -> str | None:
    if not delimiter:
        return None
    at = object_id.find(delimiter, len(prefix))
    return None if at < 0 else object_id[: at + len(delimiter)]


def _past(bucket: BucketName, after: str, prefix: str, delimiter: str) -> bytes:
    """The first key behind `after`; where that is or is in a group, behind all of it."""
    group = _group(after, prefix, delimiter) if after.startswith(prefix) else None
    if group is not None:
        return rows.object_prefix(bucket, group) + _PAST
    return rows.object_prefix(bucket, after) + b"\0"


def _last(versions: list[Version], prefixes: list[str]) -> str | None:
    ends = [version.object_id for version in versions[-1:]] + prefixes[-1:]
    return max(ends, key=str.encode, default=None)
