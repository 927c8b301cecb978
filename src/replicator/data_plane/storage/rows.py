"""Keys and rows of the catalog. Pure.

Every row begins with its format. Families and their keys, all ordered as bytes::

    chunks      digest                                  -> location of the chunk's record
                digest | manifest number u64            -> (empty): that manifest refers to the chunk
    manifests   manifest digest                         -> manifest number u64, encoded root
                manifest digest | version id            -> (empty): that version refers to the manifest
    pages       manifest number u64 | page number u32   -> encoded page
    versions    bucket 00 object id 00 inverted version -> version row; newest version first
    meta        "store"                                 -> store id
                "counters"                              -> version clock u64, greatest manifest number u64
                "segment/" number u32                   -> durable length u64 of the segment
                "staged/" manifest number u64           -> (empty): a manifest that is not whole yet
                "damaged/" digest                       -> (empty): the chunk's record failed its check
                "outbox/" task u64 epoch u64            -> result of an attempt, not yet acknowledged

A reference is a key of its own rather than a count: writing one needs no read, writing it twice does no
harm, a crash leaves nothing to recount, and the keys themselves say who refers to what. The count is the
number of keys below the digest.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from replicator.data_plane.ports import Version
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import Corrupt
from replicator.kernel.manifest import Manifest, decode_manifest
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VERSION_ID_BYTES, VersionId

_FORMAT = 1
_LOCATION = struct.Struct(">BBIQII")
_MANIFEST = struct.Struct(">BQ")
_VERSION = struct.Struct(">B32sQQ")
_NUMBER = struct.Struct(">Q")
_PAGE_KEY = struct.Struct(">QI")
_SEGMENT_KEY = struct.Struct(">I")
_STORE = struct.Struct(">B16s")
_COUNTERS = struct.Struct(">BQQ")
_OUTBOX_KEY = struct.Struct(">QQ")
_SEPARATOR = b"\0"
_ALL_ONES = (1 << 8 * VERSION_ID_BYTES) - 1

STORE_KEY = b"store"
COUNTERS_KEY = b"counters"
SEGMENT_PREFIX = b"segment/"
STAGED_PREFIX = b"staged/"
OUTBOX_PREFIX = b"outbox/"
DAMAGED_PREFIX = b"damaged/"


class Location(NamedTuple):
    """Where a chunk's record begins, and the length of its payload in bytes."""

    segment: int
    offset: int
    length: int


def encode_location(location: Location) -> bytes:
    """A chunk row."""
    return _LOCATION.pack(_FORMAT, 0, location.segment, location.offset, location.length, location.length)


def decode_location(row: bytes) -> Location:
    """From a chunk row; `Corrupt` where it is of no known format."""
    fmt, codec, segment, offset, stored, raw = _unpack(_LOCATION, row)
    if codec != 0 or stored != raw:
        raise Corrupt("a chunk row with a codec this release does not know")
    _require_format(fmt)
    return Location(segment, offset, stored)


def chunk_ref_key(digest: Digest, manifest_number: int) -> bytes:
    """The key that says: that manifest refers to the chunk."""
    return digest + _NUMBER.pack(manifest_number)


def encode_manifest_row(manifest: Manifest, number: int) -> bytes:
    """A manifest row."""
    return _MANIFEST.pack(_FORMAT, number) + manifest.encoded


def decode_manifest_row(row: bytes, digest: Digest) -> tuple[int, Manifest]:
    """(number, manifest) from a manifest row, checked against `digest`."""
    fmt, number = _unpack(_MANIFEST, row[: _MANIFEST.size])
    _require_format(fmt)
    return number, decode_manifest(row[_MANIFEST.size :], digest)


def manifest_ref_key(digest: Digest, version: VersionId) -> bytes:
    """The key that says: that version refers to the manifest."""
    return digest + version


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


def version_key(version: Version) -> bytes:
    """The key of a version: later versions come first."""
    return versions_prefix(version.bucket, version.object_id) + _invert(version.version)


def encode_version_row(version: Version) -> bytes:
    """A version row."""
    head = _VERSION.pack(_FORMAT, version.manifest, version.size, version.chunk_count)
    return head + version.content_type.encode()


def decode_version(key: bytes, row: bytes) -> Version:
    """The version under `key`."""
    fmt, manifest, size, chunk_count = _unpack(_VERSION, row[: _VERSION.size])
    _require_format(fmt)
    bucket, _, rest = key[: -VERSION_ID_BYTES - 1].partition(_SEPARATOR)
    return Version(
        bucket=BucketName(bucket.decode()),
        object_id=ObjectId(rest.decode()),
        version=VersionId(_invert(key[-VERSION_ID_BYTES:])),
        manifest=Digest(manifest),
        size=size,
        chunk_count=chunk_count,
        content_type=row[_VERSION.size :].decode(),
    )


def segment_key(number: int) -> bytes:
    """The key of a segment's durable length."""
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


def damaged_digest(key: bytes) -> Digest:
    """The chunk that a `damaged_key` names."""
    return Digest(key[len(DAMAGED_PREFIX) :])


def outbox_key(task_id: int, epoch: int) -> bytes:
    """The key of a result that waits to be acknowledged."""
    return OUTBOX_PREFIX + _OUTBOX_KEY.pack(task_id, epoch)


def decode_outbox_key(key: bytes) -> tuple[int, int]:
    """(task id, epoch) of an `outbox_key`."""
    task_id, epoch = _unpack(_OUTBOX_KEY, key[len(OUTBOX_PREFIX) :])
    return task_id, epoch


def encode_store_row(store_id: bytes) -> bytes:
    """The id of the store, and the format of all that its folder holds."""
    return _STORE.pack(_FORMAT, store_id)


def decode_store_row(row: bytes) -> bytes:
    """From `encode_store_row`."""
    fmt, store_id = _unpack(_STORE, row)
    _require_format(fmt)
    return bytes(store_id)


def encode_number(number: int) -> bytes:
    """A length or number as a row."""
    return _NUMBER.pack(number)


def decode_number(row: bytes) -> int:
    """From `encode_number`."""
    return int(_unpack(_NUMBER, row)[0])


def encode_counters(stamp: int, manifest_number: int) -> bytes:
    """The version clock's stamp and the greatest manifest number in use, as a row."""
    return _COUNTERS.pack(_FORMAT, stamp, manifest_number)


def decode_counters(row: bytes) -> tuple[int, int]:
    """From `encode_counters`."""
    fmt, stamp, manifest_number = _unpack(_COUNTERS, row)
    _require_format(fmt)
    return stamp, manifest_number


def is_chunk_key(key: bytes) -> bool:
    """Whether a key of the family `chunks` names a location rather than a reference."""
    return len(key) == DIGEST_BYTES


def _invert(version: bytes) -> bytes:
    return (int.from_bytes(version) ^ _ALL_ONES).to_bytes(VERSION_ID_BYTES)


def _unpack(row_format: struct.Struct, row: bytes) -> tuple[Any, ...]:
    try:
        return row_format.unpack(row)
    except struct.error as error:
        raise Corrupt("a catalog row has the wrong length") from error


def _require_format(fmt: int) -> None:
    if fmt != _FORMAT:
        raise Corrupt(f"a catalog row has format {fmt}, which this release does not know")
