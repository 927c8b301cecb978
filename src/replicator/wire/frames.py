"""Framing of a chunk stream, the body of the answer to `POST /chunks/fetch`.

The request is a run of 32-byte digests. The answer holds one frame for each, in that order::

    frame    SHA-256 of the chunk, 32 bytes | status u8 | codec u8 | zero u16 | payload bytes u32 | payload

A source that finds a chunk corrupt sends a frame that says so and ends the stream there.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import BrokenPeer, InvalidRequest

MEDIA_TYPE = "application/vnd.replicator.chunks"
FETCH_DIGESTS_MAX = 4096

_FRAME = struct.Struct(">32sBBHI")
FRAME_BYTES = _FRAME.size
CODEC_NONE = 0


class FrameStatus(IntEnum):
    """What a frame says about its chunk."""

    CHUNK = 0
    MISSING = 1
    CORRUPT = 2


class Frame(NamedTuple):
    """A decoded frame header; `length` is that of the payload in bytes."""

    digest: Digest
    status: FrameStatus
    length: int


def encode_frame(digest: bytes, status: FrameStatus, length: int) -> bytes:
    """The header of a frame whose payload has `length` bytes."""
    return _FRAME.pack(digest, status, CODEC_NONE, 0, length)


def decode_frame(header: bytes | bytearray | memoryview, *, payload_bytes_max: int) -> Frame:
    """The frame that `header` announces.

    Raises:
        BrokenPeer: the header is cut short, its status or codec is unknown, or its payload is above the
            bound, empty for a chunk, or not empty for anything else.
    """
    if len(header) != FRAME_BYTES:
        raise BrokenPeer(f"a chunk frame's header ended after {len(header)} of {FRAME_BYTES} bytes")
    digest, status, codec, zero, length = _FRAME.unpack(header)
    if codec != CODEC_NONE or zero != 0 or status not in FrameStatus.__members__.values():
        raise BrokenPeer("a chunk frame this release does not know", frame_status=status, codec=codec)
    if length > payload_bytes_max or (status == FrameStatus.CHUNK) != (length > 0):
        raise BrokenPeer(f"a chunk frame announces {length} bytes", frame_status=status)
    return Frame(Digest(digest), FrameStatus(status), length)


def encode_wanted(digests: Sequence[bytes]) -> bytes:
    """The body of a fetch."""
    return b"".join(digests)


def decode_wanted(body: bytes) -> list[Digest]:
    """The digests a fetch asks for; raises `InvalidRequest` for an empty, ragged or over-long list."""
    count, rest = divmod(len(body), DIGEST_BYTES)
    if rest or not 1 <= count <= FETCH_DIGESTS_MAX:
        raise InvalidRequest(f"a fetch names 1 to {FETCH_DIGESTS_MAX} digests of {DIGEST_BYTES} bytes each")
    return [Digest(body[at : at + DIGEST_BYTES]) for at in range(0, len(body), DIGEST_BYTES)]
