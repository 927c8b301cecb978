"""Keys and rows of the catalog. Pure.

Every row begins with its format. Families and their keys, all ordered as bytes::

    chunks      digest                                  -> location of the chunk's record
                digest | manifest number u64            -> (empty): that manifest refers to the chunk
    manifests   manifest digest                         -> number u64, place, retired u64, encoded root
                manifest digest | version id            -> (empty): that version refers to the manifest
    pages       manifest number u64 | page number u32   -> place, encoded page
    versions    bucket 00 object id 00 inverted version -> version row; newest first, delete markers too
    heads       bucket 00 object id                     -> version id, version row: the latest version of an
                                                           object whose newest version is no delete marker
    nulls       bucket 00 object id                     -> version id of the null version
    buckets     bucket                                  -> bucket row
    meta        "store"                                 -> format of the folder, store id
                "counters"                              -> version clock, greatest manifest number, lsn; u64
                "segment/" number u32                   -> absorbed length u64, live bytes u64
                "drops/" segment u32 | segment u32      -> bytes u64 of drops in the second about the first
                "copied/" segment u32                   -> (empty): compaction has begun to copy it away
                "removed/" segment u32                  -> (empty): nothing is left in it, its file is to go
                "staged/" manifest number u64           -> (empty): a manifest that is not whole yet
                "retiring/" time u64 | manifest digest  -> size u64: no version refers to it since then
                "damaged/" digest                       -> wrong u8: the chunk's record failed its check; 1: it is
                                                           whole, and holds other bytes than the digest names
                "scrub"                                 -> how far the scrub is
                "outbox/" task u64 epoch u64            -> result of an attempt, not yet acknowledged

A place is segment u32 | offset u64 of a record. A reference is a key of its own rather than a count: writing
one needs no read, writing it twice does no harm, and the keys themselves say who refers to what. The count is
the number of keys below the digest. All but the outbox and the marks of damage follows from the log, see
`entries`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from replicator.data_plane.ports import Bucket, DeleteMarker, Scanned, Version, Versioning
from replicator.data_plane.storage.record import CODEC_NONE, CODEC_ZSTD, RECORD_HEADER_BYTES
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import Corrupt
from replicator.kernel.manifest import Manifest, decode_manifest
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VERSION_ID_BYTES, VersionId

_LOCATION = struct.Struct(">BBIQII")
_MANIFEST = struct.Struct(">BQIQQ")
_PAGE = struct.Struct(">BIQ")
_VERSION = struct.Struct(">BBIQ32sQQ")
_BUCKET = struct.Struct(">BBBQIQ")
_NUMBER = struct.Struct(">Q")
_PAGE_KEY = struct.Struct(">QI")
_SEGMENT_KEY = struct.Struct(">I")
_SEGMENT = struct.Struct(">BQQ")
_DROPS_KEY = struct.Struct(">II")
_STORE = struct.Struct(">B16s")
_COUNTERS = struct.Struct(">BQQQ")
_COUNTERS_1 = struct.Struct(">BQQ")
_OUTBOX_KEY = struct.Struct(">QQ")
_RETIRING_KEY = struct.Struct(">Q32s")
_SCRUB = struct.Struct(">BQIQQQQQQ")
_SEPARATOR = b"\0"
_ALL_ONES = (1 << 8 * VERSION_ID_BYTES) - 1
_NULL, _MARKER = 1, 2
_VERSIONINGS = (Versioning.OFF, Versioning.ON, Versioning.SUSPENDED)
_NO_MANIFEST = Digest(bytes(DIGEST_BYTES))

STORE_FORMAT = 2
STORE_KEY = b"store"
COUNTERS_KEY = b"counters"
SCRUB_KEY = b"scrub"
SEGMENT_PREFIX = b"segment/"
DROPS_PREFIX = b"drops/"
COPIED_PREFIX = b"copied/"
REMOVED_PREFIX = b"removed/"
STAGED_PREFIX = b"staged/"
RETIRING_PREFIX = b"retiring/"
OUTBOX_PREFIX = b"outbox/"
DAMAGED_PREFIX = b"damaged/"


class Place(NamedTuple):
    """Where a record begins."""

    segment: int
    offset: int


class Location(NamedTuple):
    """Where a chunk's record begins, and the lengths of its payload in bytes: as stored, and decoded."""

    segment: int
    offset: int
    stored_length: int
    raw_length: int
    codec: int = CODEC_NONE

    @property
    def record_bytes(self) -> int:
        """Length of the whole record."""
        return RECORD_HEADER_BYTES + self.stored_length


class ManifestRow(NamedTuple):
    """What the catalog keeps of a manifest; `retired_ms` is 0 while a version refers to it."""

    number: int
    place: Place
    retired_ms: int
    manifest: Manifest


class PageRow(NamedTuple):
    """A page, and where its entry is."""

    place: Place
    encoded: bytes


class BucketRow(NamedTuple):
    """A bucket, and where its last entry is; a removed one is kept, so that its past does not come back."""

    bucket: Bucket
    removed: bool
    place: Place


def encode_location(location: Location) -> bytes:
    """A chunk row."""
    segment, offset, stored, raw, codec = location
    return _LOCATION.pack(1, codec, segment, offset, stored, raw)


def decode_location(row: bytes) -> Location:
    """From a chunk row; `Corrupt` where it is of no known format."""
    fmt, codec, segment, offset, stored, raw = unpack_row(_LOCATION, row)
    _require_format(fmt, 1)
    if codec != CODEC_ZSTD and (codec != CODEC_NONE or stored != raw):
        raise Corrupt("a chunk row with a codec that this release does not know")
    return Location(segment, offset, stored, raw, codec)


def chunk_ref_key(digest: Digest, manifest_number: int) -> bytes:
    """The key that says: that manifest refers to the chunk."""
    return digest + _NUMBER.pack(manifest_number)


def encode_manifest_row(row: ManifestRow) -> bytes:
    """A manifest row."""
    return _MANIFEST.pack(2, row.number, *row.place, row.retired_ms) + row.manifest.encoded


def decode_manifest_row(row: bytes, digest: Digest, manifest: Manifest | None = None) -> ManifestRow:
    """From a manifest row, checked against `digest`; `manifest` where that is decoded already."""
    fmt, number, segment, offset, retired_ms = unpack_row(_MANIFEST, row[: _MANIFEST.size])
    _require_format(fmt, 2)
    manifest = manifest or decode_manifest(row[_MANIFEST.size :], digest)
    return ManifestRow(number, Place(segment, offset), retired_ms, manifest)


def manifest_row_place(row: bytes) -> Place:
    """Where the entry of the manifest of `row` is."""
    _, _, segment, offset, _ = unpack_row(_MANIFEST, row[: _MANIFEST.size])
    return Place(segment, offset)


def manifest_row_head(row: bytes) -> tuple[int, int]:
    """(number, when it retired or 0) of a manifest row, whose content is not looked at."""
    fmt, number, _, _, retired_ms = unpack_row(_MANIFEST, row[: _MANIFEST.size])
    _require_format(fmt, 2)
    return number, retired_ms


def encode_page_row(row: PageRow) -> bytes:
    """A page row."""
    return _PAGE.pack(2, *row.place) + row.encoded


def decode_page_row(row: bytes) -> PageRow:
    """From a page row."""
    fmt, segment, offset = unpack_row(_PAGE, row[: _PAGE.size])
    _require_format(fmt, 2)
    return PageRow(Place(segment, offset), row[_PAGE.size :])


def decode_page_key(key: bytes) -> tuple[int, int]:
    """(manifest number, index) from a `page_key`."""
    number, index = unpack_row(_PAGE_KEY, key)
    return number, index


def manifest_ref_key(digest: Digest, version: VersionId) -> bytes:
    """The key that says: that version refers to the manifest."""
    return digest + version


def chunk_ref_number(key: bytes) -> int:
    """The manifest number of a `chunk_ref_key`."""
    return int(_NUMBER.unpack(key[DIGEST_BYTES:])[0])


def page_key(manifest_number: int, index: int) -> bytes:
    """The key of one page."""
    return _PAGE_KEY.pack(manifest_number, index)


def pages_prefix(manifest_number: int) -> bytes:
    """What the keys of all pages of one manifest begin with."""
    return _NUMBER.pack(manifest_number)


def object_prefix(bucket: BucketName, object_id: str) -> bytes:
    """What the keys of all objects whose ids begin with `object_id` begin with."""
    return bucket.encode() + _SEPARATOR + object_id.encode()


def versions_prefix(bucket: BucketName, object_id: ObjectId) -> bytes:
    """What the keys of all versions of one object begin with."""
    return object_prefix(bucket, object_id) + _SEPARATOR


def version_key(bucket: BucketName, object_id: ObjectId, version: VersionId) -> bytes:
    """The key of a version: later versions come first."""
    return versions_prefix(bucket, object_id) + invert_version(version)


def encode_version_row(version: Version | DeleteMarker, place: Place) -> bytes:
    """A version row; `place` is that of its entry."""
    flags = _NULL * version.null
    if isinstance(version, DeleteMarker):
        return _VERSION.pack(2, flags | _MARKER, *place, _NO_MANIFEST, 0, 0)
    head = _VERSION.pack(2, flags, *place, version.manifest, version.size, version.chunk_count)
    return head + version.content_type.encode()


def decode_version(key: bytes, row: bytes) -> Version | DeleteMarker:
    """The version under `key` of the family `versions`."""
    bucket, _, object_id = key[: -VERSION_ID_BYTES - 1].partition(_SEPARATOR)
    return _decode_version_row(bucket, object_id, invert_version(key[-VERSION_ID_BYTES:]), row)


def object_of_head(key: bytes) -> str:
    """The object id in a key of the family `heads`."""
    return key.partition(_SEPARATOR)[2].decode()


def decode_head(key: bytes, row: bytes) -> Version:
    """The latest version, from the key and row of the family `heads`."""
    bucket, _, object_id = key.partition(_SEPARATOR)
    version = _decode_version_row(bucket, object_id, row[:VERSION_ID_BYTES], row[VERSION_ID_BYTES:])
    if isinstance(version, DeleteMarker):
        raise Corrupt("a catalog row calls a delete marker the latest version")
    return version


def scan_version_row(object_id: str, version: bytes, row: bytes) -> Scanned:
    """What a scan tells of a version row."""
    fmt, flags, _, _, manifest, size, _ = unpack_row(_VERSION, row[: _VERSION.size])
    _require_format(fmt, 2)
    return Scanned(object_id, version, b"" if flags & _MARKER else manifest, size)


def version_place(row: bytes) -> Place:
    """Where the entry of the version of `row` is."""
    _, _, segment, offset, *_ = unpack_row(_VERSION, row[: _VERSION.size])
    return Place(segment, offset)


def _decode_version_row(
    bucket: bytes, object_id: bytes, version: bytes, row: bytes
) -> Version | DeleteMarker:
    fmt, flags, _, _, manifest, size, chunk_count = unpack_row(_VERSION, row[: _VERSION.size])
    _require_format(fmt, 2)
    null = bool(flags & _NULL)
    if flags & _MARKER:
        return DeleteMarker(
            bucket=BucketName(bucket.decode()),
            object_id=ObjectId(object_id.decode()),
            version=VersionId(version),
            null=null,
        )
    return Version(
        bucket=BucketName(bucket.decode()),
        object_id=ObjectId(object_id.decode()),
        version=VersionId(version),
        manifest=Digest(manifest),
        size=size,
        chunk_count=chunk_count,
        content_type=row[_VERSION.size :].decode(),
        null=null,
    )


def encode_bucket_row(row: BucketRow) -> bytes:
    """A bucket row."""
    bucket, removed, place = row
    return _BUCKET.pack(2, removed, _VERSIONINGS.index(bucket.versioning), bucket.created_ms, *place)


def decode_bucket_row(key: bytes, row: bytes) -> BucketRow:
    """From a bucket row under `key`."""
    fmt, removed, versioning, created_ms, segment, offset = unpack_row(_BUCKET, row)
    _require_format(fmt, 2)
    if versioning >= len(_VERSIONINGS):
        raise Corrupt("a bucket row with a state that this release does not know")
    bucket = Bucket(BucketName(key.decode()), _VERSIONINGS[versioning], created_ms)
    return BucketRow(bucket, bool(removed), Place(segment, offset))


def bucket_prefix(bucket: BucketName) -> bytes:
    """What the keys of all objects of a bucket begin with."""
    return bucket.encode() + _SEPARATOR


def segment_key(number: int) -> bytes:
    """The key of what the catalog knows of a segment."""
    return SEGMENT_PREFIX + _SEGMENT_KEY.pack(number)


def segment_number(key: bytes) -> int:
    """The segment that a `segment_key` names."""
    return int(_SEGMENT_KEY.unpack(key[len(SEGMENT_PREFIX) :])[0])


def staged_key(manifest_number: int) -> bytes:
    """The key that marks a manifest as not whole yet."""
    return STAGED_PREFIX + _NUMBER.pack(manifest_number)


def staged_number(key: bytes) -> int:
    """The manifest that a `staged_key` names."""
    return int(_NUMBER.unpack(key[len(STAGED_PREFIX) :])[0])


def damaged_key(digest: Digest) -> bytes:
    """The key that says: the record of the chunk failed its check."""
    return DAMAGED_PREFIX + digest


def encode_damaged_row(*, wrong: bool) -> bytes:
    """Whether the record is whole, and holds other bytes than the digest names."""
    return bytes([wrong])


def decode_damaged_row(row: bytes) -> bool:
    """From `encode_damaged_row`; earlier releases wrote nothing."""
    return row == b"\1"


def damaged_digest(key: bytes) -> Digest:
    """The chunk that a `damaged_key` names."""
    return Digest(key[len(DAMAGED_PREFIX) :])


def outbox_key(task_id: int, epoch: int) -> bytes:
    """The key of a result that waits to be acknowledged."""
    return OUTBOX_PREFIX + _OUTBOX_KEY.pack(task_id, epoch)


def decode_outbox_key(key: bytes) -> tuple[int, int]:
    """(task id, epoch) of an `outbox_key`."""
    task_id, epoch = unpack_row(_OUTBOX_KEY, key[len(OUTBOX_PREFIX) :])
    return task_id, epoch


def encode_scrub_row(numbers: Sequence[int]) -> bytes:
    """How far the scrub is, in the order of `scrub.Progress`."""
    return _SCRUB.pack(1, *numbers)


def decode_scrub_row(row: bytes) -> tuple[int, ...]:
    """From `encode_scrub_row`."""
    fmt, *numbers = unpack_row(_SCRUB, row)
    _require_format(fmt, 1)
    return tuple(numbers)


def encode_store_row(store_id: bytes) -> bytes:
    """The id of the store, and the format of all that its folder holds."""
    return _STORE.pack(STORE_FORMAT, store_id)


def decode_store_row(row: bytes) -> tuple[int, bytes]:
    """(format of the folder, store id) from `encode_store_row`."""
    fmt, store_id = unpack_row(_STORE, row)
    if fmt not in (1, STORE_FORMAT):
        raise Corrupt(f"the store has format {fmt}, which this release does not know: use a later one")
    return fmt, bytes(store_id)


def encode_segment_row(absorbed: int, live_bytes: int) -> bytes:
    """How much of a segment the catalog knows, and how much of it something refers to."""
    return _SEGMENT.pack(2, absorbed, live_bytes)


def decode_segment_row(row: bytes) -> tuple[int, int]:
    """(absorbed length, live bytes); of a row of format 1, which does not tell the latter, 0."""
    if len(row) == _NUMBER.size:
        return int(_NUMBER.unpack(row)[0]), 0
    fmt, absorbed, live_bytes = unpack_row(_SEGMENT, row)
    _require_format(fmt, 2)
    return absorbed, live_bytes


def drops_key(about: int, within: int) -> bytes:
    """The key of the bytes of drops in segment `within` that end versions of segment `about`."""
    return DROPS_PREFIX + _DROPS_KEY.pack(about, within)


def decode_drops_key(key: bytes) -> tuple[int, int]:
    """(about, within) from a `drops_key`."""
    about, within = unpack_row(_DROPS_KEY, key[len(DROPS_PREFIX) :])
    return about, within


def copied_key(segment: int) -> bytes:
    """The key that says: compaction has begun to copy the segment away."""
    return COPIED_PREFIX + _SEGMENT_KEY.pack(segment)


def copied_segment(key: bytes) -> int:
    """The segment that a `copied_key` names."""
    return int(_SEGMENT_KEY.unpack(key[len(COPIED_PREFIX) :])[0])


def removed_key(segment: int) -> bytes:
    """The key that says: nothing is left in the segment, and its file is to go."""
    return REMOVED_PREFIX + _SEGMENT_KEY.pack(segment)


def removed_segment(key: bytes) -> int:
    """The segment that a `removed_key` names."""
    return int(_SEGMENT_KEY.unpack(key[len(REMOVED_PREFIX) :])[0])


def retiring_key(time_ms: int, manifest: Digest) -> bytes:
    """The key that says: no version refers to the manifest since then."""
    return RETIRING_PREFIX + _RETIRING_KEY.pack(time_ms, manifest)


def decode_retiring_key(key: bytes) -> tuple[int, Digest]:
    """(time, manifest) from a `retiring_key`."""
    time_ms, digest = unpack_row(_RETIRING_KEY, key[len(RETIRING_PREFIX) :])
    return time_ms, Digest(digest)


def encode_number(number: int) -> bytes:
    """A length or number as a row."""
    return _NUMBER.pack(number)


def decode_number(row: bytes) -> int:
    """From `encode_number`."""
    return int(unpack_row(_NUMBER, row)[0])


def encode_counters(stamp: int, manifest_number: int, lsn: int) -> bytes:
    """The version clock's stamp, and the greatest manifest number and lsn in use, as a row."""
    return _COUNTERS.pack(2, stamp, manifest_number, lsn)


def decode_counters(row: bytes) -> tuple[int, int, int]:
    """From `encode_counters`; a row of format 1 knows no lsn."""
    if row[:1] == b"\x01":
        _, stamp, manifest_number = unpack_row(_COUNTERS_1, row)
        return stamp, manifest_number, 0
    fmt, stamp, manifest_number, lsn = unpack_row(_COUNTERS, row)
    _require_format(fmt, 2)
    return stamp, manifest_number, lsn


def is_chunk_key(key: bytes) -> bool:
    """Whether a key of the family `chunks` names a location rather than a reference."""
    return len(key) == DIGEST_BYTES


def invert_version(version: bytes) -> bytes:
    """Bytes that sort the other way round."""
    return (int.from_bytes(version) ^ _ALL_ONES).to_bytes(VERSION_ID_BYTES)


def unpack_row(row_format: struct.Struct, row: bytes) -> tuple[Any, ...]:
    """The fields of a row; `Corrupt` where it has another length than theirs."""
    try:
        return row_format.unpack(row)
    except struct.error as error:
        raise Corrupt("a catalog row has the wrong length") from error


def _require_format(fmt: int, expected: int) -> None:
    if fmt != expected:
        raise Corrupt(f"a catalog row has format {fmt}, which this release does not know")
