"""What the log says besides chunks: manifests, pages, versions, buckets, and where a group of them ends. Pure.

Every change of what a store holds is an entry in the log, and the catalog is what the entries come to. So an
acknowledgement waits for the log alone, and a catalog that lags behind or is lost is made again from it.

Payloads of the records, integers big-endian, each beginning with `format u8 = 1 | lsn u64`::

    manifest  number u64 | encoded root
    page      number u64 | index u32 | encoded page
    version   flags u8 | version, 16 bytes | manifest, 32 bytes | size u64 | chunks u64
              | bucket length u8 | object id length u16 | bucket | object id | content type
              flags: 1 null version, 2 delete marker (then manifest, size and chunks are zero)
    drop      segment u32 | version, 16 bytes | bucket length u8 | bucket | object id
    bucket    flags u8 | versioning u8 | created u64, milliseconds | bucket;  flags: 1 removed
    commit    entries u32

The lsn grows with every entry and is kept when an entry is copied to another segment: of two entries about the
same thing the one with the greater lsn is true. A *drop* ends a version for good; it names the segment that
holds the version's entry, and is needed for as long as that segment exists. A *commit* ends a group: entries
behind the last commit of a log were never acknowledged and do not count.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from replicator.data_plane.ports import Bucket, DeleteMarker, Version, Versioning
from replicator.data_plane.storage import record
from replicator.data_plane.storage.record import RECORD_HEADER_BYTES
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import Corrupt
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionId

_FORMAT = 1
_HEAD = struct.Struct(">BQ")
_MANIFEST = struct.Struct(">BQQ")
_PAGE = struct.Struct(">BQQI")
_VERSION = struct.Struct(">BQB16s32sQQBH")
_DROP = struct.Struct(">BQI16sB")
_BUCKET = struct.Struct(">BQBBQ")
_COMMIT = struct.Struct(">BQI")
_NULL, _MARKER = 1, 2
_REMOVED = 1
_NO_MANIFEST = Digest(bytes(DIGEST_BYTES))
_VERSIONINGS = (Versioning.OFF, Versioning.ON, Versioning.SUSPENDED)


class ManifestEntry(NamedTuple):
    """A manifest is stored under a number; the pages of that number belong to it."""

    lsn: int
    number: int
    encoded: bytes


class PageEntry(NamedTuple):
    """A page is stored."""

    lsn: int
    number: int
    page: int
    encoded: bytes


class VersionEntry(NamedTuple):
    """A version or delete marker is made."""

    lsn: int
    version: Version | DeleteMarker


class DropEntry(NamedTuple):
    """A version or delete marker, whose entry is in `segment`, is gone for good."""

    lsn: int
    segment: int
    bucket: BucketName
    object_id: ObjectId
    version: VersionId


class BucketEntry(NamedTuple):
    """A bucket is made, changed or removed."""

    lsn: int
    bucket: Bucket
    removed: bool


class CommitEntry(NamedTuple):
    """A group of so many entries ends."""

    lsn: int
    entries: int


Entry = ManifestEntry | PageEntry | VersionEntry | DropEntry | BucketEntry | CommitEntry


def encode_entry(entry: Entry) -> tuple[int, bytes]:
    """(kind, payload) of the record of `entry`."""
    match entry:
        case ManifestEntry(lsn, number, encoded):
            return record.KIND_MANIFEST, _MANIFEST.pack(_FORMAT, lsn, number) + encoded
        case PageEntry(lsn, number, page, encoded):
            return record.KIND_PAGE, _PAGE.pack(_FORMAT, lsn, number, page) + encoded
        case VersionEntry(lsn, version):
            return record.KIND_VERSION, _encode_version(lsn, version)
        case DropEntry(lsn, segment, bucket, object_id, version_id):
            name = bucket.encode()
            head = _DROP.pack(_FORMAT, lsn, segment, version_id, len(name))
            return record.KIND_DROP, head + name + object_id.encode()
        case BucketEntry(lsn, bucket_, removed):
            versioning = _VERSIONINGS.index(bucket_.versioning)
            head = _BUCKET.pack(_FORMAT, lsn, _REMOVED * removed, versioning, bucket_.created_ms)
            return record.KIND_BUCKET, head + bucket_.name.encode()
    return record.KIND_COMMIT, _COMMIT.pack(_FORMAT, entry.lsn, entry.entries)


def decode_entry(kind: int, payload: bytes) -> Entry:
    """From `encode_entry`.

    Raises:
        Corrupt: no entry of a format this release knows.
    """
    try:
        if payload[0] != _FORMAT:
            raise Corrupt(f"an entry of format {payload[0]}, which this release does not know")
        return _decode(kind, payload)
    except (struct.error, IndexError, ValueError) as error:
        raise Corrupt(f"an entry of kind {kind} does not decode: {error}") from error


def version_record_bytes(version: Version | DeleteMarker) -> int:
    """Length of the record of a `VersionEntry`, header included."""
    content_type = version.content_type if isinstance(version, Version) else ""
    names = len(version.bucket.encode()) + len(version.object_id.encode()) + len(content_type.encode())
    return RECORD_HEADER_BYTES + _VERSION.size + names


def manifest_record_bytes(encoded: bytes) -> int:
    """Length of the record of a `ManifestEntry`, header included."""
    return RECORD_HEADER_BYTES + _MANIFEST.size + len(encoded)


def page_record_bytes(encoded: bytes) -> int:
    """Length of the record of a `PageEntry`, header included."""
    return RECORD_HEADER_BYTES + _PAGE.size + len(encoded)


def bucket_record_bytes(bucket: Bucket) -> int:
    """Length of the record of a `BucketEntry`, header included."""
    return RECORD_HEADER_BYTES + _BUCKET.size + len(bucket.name.encode())


def drop_record_bytes(entry: DropEntry) -> int:
    """Length of the record of a `DropEntry`, header included."""
    return RECORD_HEADER_BYTES + _DROP.size + len(entry.bucket.encode()) + len(entry.object_id.encode())


def _encode_version(lsn: int, version: Version | DeleteMarker) -> bytes:
    bucket, object_id = version.bucket.encode(), version.object_id.encode()
    flags = _NULL * version.null
    if isinstance(version, DeleteMarker):
        parts = (flags | _MARKER, version.version, _NO_MANIFEST, 0, 0)
        content_type = b""
    else:
        parts = (flags, version.version, version.manifest, version.size, version.chunk_count)
        content_type = version.content_type.encode()
    head = _VERSION.pack(_FORMAT, lsn, *parts, len(bucket), len(object_id))
    return head + bucket + object_id + content_type


def _decode(kind: int, payload: bytes) -> Entry:
    lsn: int = _HEAD.unpack_from(payload)[1]
    match kind:
        case record.KIND_MANIFEST:
            _, _, number = _MANIFEST.unpack_from(payload)
            return ManifestEntry(lsn, number, payload[_MANIFEST.size :])
        case record.KIND_PAGE:
            _, _, number, page = _PAGE.unpack_from(payload)
            return PageEntry(lsn, number, page, payload[_PAGE.size :])
        case record.KIND_VERSION:
            return VersionEntry(lsn, _decode_version(payload))
        case record.KIND_DROP:
            _, _, segment, version, length = _DROP.unpack_from(payload)
            names = payload[_DROP.size :]
            if len(names) <= length:
                raise Corrupt("the entry of a drop is shorter than the names in it")
            bucket, object_id = names[:length].decode(), names[length:].decode()
            return DropEntry(lsn, segment, BucketName(bucket), ObjectId(object_id), VersionId(version))
        case record.KIND_BUCKET:
            _, _, flags, versioning, created_ms = _BUCKET.unpack_from(payload)
            name = BucketName(payload[_BUCKET.size :].decode())
            return BucketEntry(
                lsn, Bucket(name, _VERSIONINGS[versioning], created_ms), bool(flags & _REMOVED)
            )
        case record.KIND_COMMIT:
            return CommitEntry(lsn, _COMMIT.unpack(payload)[2])
    raise Corrupt(f"a record of kind {kind} is no entry")


def _decode_version(payload: bytes) -> Version | DeleteMarker:
    _, _, flags, version, manifest, size, chunks, bucket_length, id_length = _VERSION.unpack_from(payload)
    names = payload[_VERSION.size :]
    if len(names) < bucket_length + id_length:
        raise Corrupt("the entry of a version is shorter than the names in it")
    bucket = BucketName(names[:bucket_length].decode())
    object_id = ObjectId(names[bucket_length : bucket_length + id_length].decode())
    if flags & _MARKER:
        return DeleteMarker(
            bucket=bucket, object_id=object_id, version=VersionId(version), null=bool(flags & _NULL)
        )
    return Version(
        bucket=bucket,
        object_id=object_id,
        version=VersionId(version),
        manifest=Digest(manifest),
        size=size,
        chunk_count=chunks,
        content_type=names[bucket_length + id_length :].decode(),
        null=bool(flags & _NULL),
    )
