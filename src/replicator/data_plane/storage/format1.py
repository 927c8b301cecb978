"""Rows of the catalog in format 1, for the migration. Pure.

In that format manifests were `format u8 = 1 | number u64 | encoded root`, pages the encoded page itself, versions
`format u8 = 1 | manifest | size u64 | chunks u64 | content type`. There were no places: none of it was in the log.
"""

from __future__ import annotations

import struct

from replicator.data_plane.ports import Version
from replicator.data_plane.storage.rows import invert_version, unpack_row
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import PAGE_MAGIC, Manifest, decode_manifest
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VERSION_ID_BYTES, VersionId

_MANIFEST = struct.Struct(">BQ")
_VERSION = struct.Struct(">B32sQQ")
_SEPARATOR = b"\0"


def decode_manifest_row(row: bytes, digest: Digest) -> tuple[int, Manifest] | None:
    """(number, manifest) from a manifest row of format 1; None where it is of a later one."""
    if row[:1] != b"\x01":
        return None
    return int(unpack_row(_MANIFEST, row[: _MANIFEST.size])[1]), decode_manifest(
        row[_MANIFEST.size :], digest
    )


def is_page_row(row: bytes) -> bool:
    """Whether a page row is of format 1: the encoded page itself."""
    return row[:4] == PAGE_MAGIC


def decode_version(key: bytes, row: bytes) -> Version | None:
    """From a version row of format 1; None where it is of a later one."""
    if row[:1] != b"\x01":
        return None
    _, manifest, size, chunk_count = unpack_row(_VERSION, row[: _VERSION.size])
    bucket, _, object_id = key[: -VERSION_ID_BYTES - 1].partition(_SEPARATOR)
    return Version(
        bucket=BucketName(bucket.decode()),
        object_id=ObjectId(object_id.decode()),
        version=VersionId(invert_version(key[-VERSION_ID_BYTES:])),
        manifest=Digest(manifest),
        size=size,
        chunk_count=chunk_count,
        content_type=row[_VERSION.size :].decode(),
        null=True,
    )
