"""Framing of a chunk stream, the answer to `POST /replication/fetch`.

The request is a `FetchRequest` (proto/replicator/v1): pieces, each a run of chunks. The answer holds, in
that order, one frame for each chunk, or one DELTA frame for a piece with references::

    frame    SHA-256 of the chunk, 32 bytes | status u8 | codec u8 | zero u16 | payload bytes u32 | payload

A delta's digest is that of the piece's first chunk; its payload is one zstd frame of all the piece's bytes, made
with the bytes of the references, one after the other, as raw-content dictionary. A source that finds a chunk
corrupt sends a frame that says so and ends the stream there.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer

MEDIA_TYPE = "application/vnd.replicator.chunks"
FETCH_CHUNKS_MAX = 4096
DELTA_BYTES_MAX = 8 * 1024 * 1024
"""Bound on the bytes of a run that travels as one delta, and on those of its references."""

_FRAME = struct.Struct(">32sBBHI")
FRAME_BYTES = _FRAME.size


class FrameStatus(IntEnum):
    """What a frame says about its chunk, or chunks."""

    CHUNK = 0
    MISSING = 1
    CORRUPT = 2
    DELTA = 3


class Codec(IntEnum):
    """How a payload is written."""

    PLAIN = 0
    ZSTD = 1


_CODECS = {
    FrameStatus.CHUNK: frozenset({Codec.PLAIN, Codec.ZSTD}),
    FrameStatus.DELTA: frozenset({Codec.ZSTD}),
    FrameStatus.MISSING: frozenset({Codec.PLAIN}),
    FrameStatus.CORRUPT: frozenset({Codec.PLAIN}),
}
# One look-up for each frame: there are as many as chunks.
_KNOWN = {
    (int(status), int(codec)): (status, codec) for status, codecs in _CODECS.items() for codec in codecs
}
_WITH_PAYLOAD = (FrameStatus.CHUNK, FrameStatus.DELTA)


class Frame(NamedTuple):
    """A decoded frame header; `length` is that of the payload in bytes."""

    digest: Digest
    status: FrameStatus
    codec: Codec
    length: int


def encode_frame(digest: bytes, status: FrameStatus, length: int, codec: Codec = Codec.PLAIN) -> bytes:
    """The header of a frame whose payload has `length` bytes."""
    return _FRAME.pack(digest, status, codec, 0, length)


def decode_frame(header: bytes | bytearray | memoryview, *, payload_bytes_max: int) -> Frame:
    """The frame that `header` announces.

    Raises:
        BrokenPeer: the header is cut short, its status or codec is unknown, or its payload is above the
            bound, empty where there must be one, or not empty where there is none.
    """
    if len(header) != FRAME_BYTES:
        raise BrokenPeer(f"a chunk frame's header ended after {len(header)} of {FRAME_BYTES} bytes")
    digest, status, codec, zero, length = _FRAME.unpack(header)
    return checked_frame(Digest(digest), status, codec if zero == 0 else -1, length, payload_bytes_max)


def checked_frame(digest: Digest, status: int, codec: int, length: int, payload_bytes_max: int) -> Frame:
    """The frame of these numbers, which came from a peer; raises as `decode_frame`."""
    known = _KNOWN.get((status, codec))
    if known is None:
        raise BrokenPeer("a chunk frame this release does not know", frame_status=status, codec=codec)
    if length > payload_bytes_max or (known[0] in _WITH_PAYLOAD) != (length > 0):
        raise BrokenPeer(f"a chunk frame announces {length} bytes", frame_status=status)
    return Frame(digest, *known, length)
