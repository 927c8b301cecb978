"""The bytes of a segment file: one segment header, then records back to back. Pure.

All integers are big-endian::

    segment header, 64 bytes
        "RPSEGMNT" | format u8 = 2 | zero u24 | segment number u32 | store id, 16 bytes
        | zero, 16 bytes | XXH3-128 of the 48 bytes before
    record header, 64 bytes
        "RPCK" | format u8 = 1 | kind u8 | codec u8 | zero u8 | stored length u32 | raw length u32
        | SHA-256 of the raw bytes, 32 bytes | XXH3-128 of the 48 bytes before and of the stored bytes
    stored bytes

A record says everything about itself, so the catalog can be rebuilt from segments alone. The checksum finds
what rots on a disk at memory speed; the digest proves content wherever bytes enter. Kinds other than chunks
are described in `entries`. A segment of format 1 holds only chunks without a codec.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import xxhash

from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt

if TYPE_CHECKING:
    from typing_extensions import Buffer

_SEGMENT = struct.Struct(">8sB3sI16s16s")
_RECORD = struct.Struct(">4sBBBBII32s")
_CHECKSUM_BYTES = 16
SEGMENT_HEADER_BYTES = _SEGMENT.size + _CHECKSUM_BYTES
RECORD_HEADER_BYTES = _RECORD.size + _CHECKSUM_BYTES
STORE_ID_BYTES = 16

_SEGMENT_MAGIC, RECORD_MAGIC, _FORMAT = b"RPSEGMNT", b"RPCK", 1
SEGMENT_FORMAT, _SEGMENT_FORMATS = 2, (1, 2)
KIND_CHUNK, KIND_MANIFEST, KIND_PAGE, KIND_VERSION, KIND_DROP, KIND_BUCKET, KIND_COMMIT = range(1, 8)
_KINDS = range(KIND_CHUNK, KIND_COMMIT + 1)
RECORD_BYTES_MAX = 16 * 1024 * 1024
"""A longer payload is no record of ours."""
CODEC_NONE, CODEC_ZSTD = 0, 1
DECODED_BYTES_MAX = 16 * 1024 * 1024
_CODECS = (CODEC_NONE, CODEC_ZSTD)


class RecordHeader(NamedTuple):
    """What the header of a record says; lengths in bytes."""

    kind: int
    codec: int
    stored_length: int
    raw_length: int
    digest: Digest


def encode_segment_header(number: int, store_id: bytes, fmt: int = SEGMENT_FORMAT) -> bytes:
    """The header of segment `number` of the store `store_id`."""
    head = _SEGMENT.pack(_SEGMENT_MAGIC, fmt, bytes(3), number, store_id, bytes(16))
    return head + xxhash.xxh3_128_digest(head)


def check_segment_header(data: Buffer, number: int, store_id: bytes) -> None:
    """Raises `Corrupt` unless `data` is the header of that very segment."""
    if not any(bytes(data) == encode_segment_header(number, store_id, fmt) for fmt in _SEGMENT_FORMATS):
        raise Corrupt(
            f"segment {number} does not begin with its header: it is damaged, or belongs to another store",
            segment=number,
        )


def decode_segment_header(data: Buffer) -> tuple[int, bytes]:
    """(number, store id) from the header of a segment; raises `Corrupt`."""
    head = bytes(memoryview(data)[: _SEGMENT.size])
    if len(head) == _SEGMENT.size:
        *_, number, store_id, _ = _SEGMENT.unpack(head)
        check_segment_header(data, number, store_id)
        return number, store_id
    raise Corrupt("a file is too short for a segment")


def encode_record_header(
    digest: Digest,
    payload: Buffer,
    *,
    kind: int = KIND_CHUNK,
    codec: int = CODEC_NONE,
    raw_length: int | None = None,
) -> bytes:
    """The header of a record that stores `payload`.

    Args:
        digest: SHA-256 of the raw bytes.
        raw_length: their length where `payload` is their encoding by `codec`.
    """
    stored = len(memoryview(payload))
    raw = stored if raw_length is None else raw_length
    head = _RECORD.pack(RECORD_MAGIC, _FORMAT, kind, codec, 0, stored, raw, digest)
    return head + _checksum(head, payload)


def decode_record_header(header: Buffer) -> RecordHeader:
    """What `header` says; its checksum is not looked at, because that needs the payload.

    Raises:
        Corrupt: not a record header of a format, kind and codec this release knows.
    """
    magic, fmt, kind, codec, zero, stored, raw, digest = _RECORD.unpack_from(header)
    if (magic, fmt, zero) != (RECORD_MAGIC, _FORMAT, 0) or kind not in _KINDS or codec not in _CODECS:
        raise Corrupt("not a record of a kind that this release knows")
    if codec == CODEC_NONE and stored != raw:
        raise Corrupt("a record with two lengths and no codec")
    if codec != CODEC_NONE and raw > DECODED_BYTES_MAX:
        raise Corrupt("a record that would decode to more than any chunk holds")
    return RecordHeader(kind, codec, stored, raw, Digest(digest))


def check_record(header: memoryview, payload: Buffer, digest: Digest, *, codec: int | None = None) -> None:
    """Raises `Corrupt` unless header and payload are the intact record of `digest`, and in `codec` if given."""
    if bytes(header[16:48]) != digest:
        raise Corrupt("a record holds another chunk than the catalog says", digest=str(digest))
    if codec is not None and header[6] != codec:
        raise Corrupt("a record has another codec than the catalog says", digest=str(digest))
    if header[48:] != _checksum(header[:48], payload):
        raise Corrupt("a chunk record fails its checksum", digest=str(digest))


def _checksum(head: Buffer, payload: Buffer) -> bytes:
    state = xxhash.xxh3_128(head)
    state.update(payload)
    return state.digest()
