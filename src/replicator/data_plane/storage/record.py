"""The bytes of a segment file: one segment header, then chunk records back to back. Pure.

All integers are big-endian::

    segment header, 64 bytes
        "RPSEGMNT" | format u8 = 1 | zero u24 | segment number u32 | store id, 16 bytes
        | zero, 16 bytes | XXH3-128 of the 48 bytes before
    record header, 64 bytes
        "RPCK" | format u8 = 1 | kind u8 | codec u8 | zero u8 | stored length u32 | raw length u32
        | SHA-256 of the raw bytes, 32 bytes | XXH3-128 of the 48 bytes before and of the stored bytes
    stored bytes

A record says everything about itself, so the locations of chunks can be rebuilt from segments alone. The
checksum finds what rots on a disk at memory speed; the digest proves content wherever bytes enter.
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

_SEGMENT_MAGIC, _RECORD_MAGIC, _FORMAT = b"RPSEGMNT", b"RPCK", 1
KIND_CHUNK = 1
CODEC_NONE = 0


class RecordHeader(NamedTuple):
    """What the header of a chunk record says; lengths in bytes."""

    digest: Digest
    stored_length: int
    raw_length: int


def encode_segment_header(number: int, store_id: bytes) -> bytes:
    """The header of segment `number` of the store `store_id`."""
    head = _SEGMENT.pack(_SEGMENT_MAGIC, _FORMAT, bytes(3), number, store_id, bytes(16))
    return head + xxhash.xxh3_128_digest(head)


def check_segment_header(data: Buffer, number: int, store_id: bytes) -> None:
    """Raises `Corrupt` unless `data` is the header of that very segment."""
    if bytes(data) != encode_segment_header(number, store_id):
        raise Corrupt(
            f"segment {number} does not begin with its header: it is damaged, or belongs to another store",
            segment=number,
        )


def encode_record_header(digest: Digest, payload: Buffer) -> bytes:
    """The header of a record that stores `payload` as it is."""
    length = len(memoryview(payload))
    head = _RECORD.pack(_RECORD_MAGIC, _FORMAT, KIND_CHUNK, CODEC_NONE, 0, length, length, digest)
    return head + _checksum(head, payload)


def decode_record_header(header: Buffer) -> RecordHeader:
    """What `header` says; its checksum is not looked at, because that needs the payload.

    Raises:
        Corrupt: not a record header of a format this release knows.
    """
    magic, fmt, kind, codec, zero, stored, raw, digest = _RECORD.unpack_from(header)
    if (magic, fmt, kind, codec, zero) != (
        _RECORD_MAGIC,
        _FORMAT,
        KIND_CHUNK,
        CODEC_NONE,
        0,
    ) or stored != raw:
        raise Corrupt("not a chunk record of format 1")
    return RecordHeader(Digest(digest), stored, raw)


def check_record(header: memoryview, payload: Buffer, digest: Digest) -> None:
    """Raises `Corrupt` unless header and payload are the intact record of `digest`."""
    if bytes(header[16:48]) != digest:
        raise Corrupt("a record holds another chunk than the catalog says", digest=str(digest))
    if header[48:] != _checksum(header[:48], payload):
        raise Corrupt("a chunk record fails its checksum", digest=str(digest))


def _checksum(head: Buffer, payload: Buffer) -> bytes:
    state = xxhash.xxh3_128(head)
    state.update(payload)
    return state.digest()
