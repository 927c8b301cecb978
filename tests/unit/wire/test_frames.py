from __future__ import annotations

import struct

import pytest

from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer
from replicator.wire.frames import FRAME_BYTES, Codec, FrameStatus, decode_frame, encode_frame

DIGEST = Digest.of(b"abc")
BOUND = 1000


@pytest.mark.parametrize(
    ("status", "codec", "length"),
    [
        (FrameStatus.CHUNK, Codec.PLAIN, 1),
        (FrameStatus.CHUNK, Codec.PLAIN, BOUND),
        (FrameStatus.CHUNK, Codec.ZSTD, 9),
        (FrameStatus.DELTA, Codec.ZSTD, 9),
        (FrameStatus.MISSING, Codec.PLAIN, 0),
        (FrameStatus.CORRUPT, Codec.PLAIN, 0),
    ],
)
def test_a_frame_comes_back(status: FrameStatus, codec: Codec, length: int) -> None:
    header = encode_frame(DIGEST, status, length, codec)
    assert len(header) == FRAME_BYTES
    for data in (header, bytearray(header), memoryview(header)):
        assert decode_frame(data, payload_bytes_max=BOUND) == (DIGEST, status, codec, length)


def test_golden_bytes_of_a_frame() -> None:
    assert encode_frame(DIGEST, FrameStatus.CHUNK, 3) == DIGEST + bytes.fromhex("00 00 0000 00000003")
    assert encode_frame(DIGEST, FrameStatus.CORRUPT, 0) == DIGEST + bytes.fromhex("02 00 0000 00000000")
    assert encode_frame(DIGEST, FrameStatus.DELTA, 3, Codec.ZSTD) == DIGEST + bytes.fromhex(
        "03 01 0000 00000003"
    )


def lie(*, status: int = 0, codec: int = 0, zero: int = 0, length: int = 3) -> bytes:
    return struct.pack(">32sBBHI", DIGEST, status, codec, zero, length)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (lie(status=4), "does not know"),
        (lie(status=FrameStatus.DELTA), "does not know"),
        (lie(status=FrameStatus.MISSING, codec=1, length=0), "does not know"),
        (lie(status=255, length=0), "does not know"),
        (lie(codec=2), "does not know"),
        (lie(zero=1), "does not know"),
        (lie(length=BOUND + 1), "announces 1001 bytes"),
        (lie(length=2**32 - 1), "announces 4294967295 bytes"),
        (lie(length=0), "announces 0 bytes"),
        (lie(status=FrameStatus.DELTA, codec=1, length=0), "announces 0 bytes"),
        (lie(status=FrameStatus.MISSING, length=1), "announces 1 bytes"),
        (lie(status=FrameStatus.CORRUPT, length=1), "announces 1 bytes"),
        (b"", "ended after 0 of 40 bytes"),
        (lie()[:-1], "ended after 39 of 40 bytes"),
        (lie() + b"\0", "ended after 41 of 40 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_lying_frame_is_refused(header: bytes, why: str) -> None:
    with pytest.raises(BrokenPeer, match=why):
        decode_frame(header, payload_bytes_max=BOUND)
