from __future__ import annotations

import struct

import pytest

from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, InvalidRequest
from replicator.wire.frames import (
    FETCH_DIGESTS_MAX,
    FRAME_BYTES,
    FrameStatus,
    decode_frame,
    decode_wanted,
    encode_frame,
    encode_wanted,
)

DIGEST = Digest.of(b"abc")
BOUND = 1000


@pytest.mark.parametrize(
    ("status", "length"),
    [
        (FrameStatus.CHUNK, 1),
        (FrameStatus.CHUNK, BOUND),
        (FrameStatus.MISSING, 0),
        (FrameStatus.CORRUPT, 0),
    ],
)
def test_a_frame_comes_back(status: FrameStatus, length: int) -> None:
    header = encode_frame(DIGEST, status, length)
    assert len(header) == FRAME_BYTES
    for data in (header, bytearray(header), memoryview(header)):
        assert decode_frame(data, payload_bytes_max=BOUND) == (DIGEST, status, length)


def test_golden_bytes_of_a_frame() -> None:
    assert encode_frame(DIGEST, FrameStatus.CHUNK, 3) == DIGEST + bytes.fromhex("00 00 0000 00000003")
    assert encode_frame(DIGEST, FrameStatus.CORRUPT, 0) == DIGEST + bytes.fromhex("02 00 0000 00000000")


def lie(*, status: int = 0, codec: int = 0, zero: int = 0, length: int = 3) -> bytes:
    return struct.pack(">32sBBHI", DIGEST, status, codec, zero, length)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (lie(status=3), "does not know"),
        (lie(status=255, length=0), "does not know"),
        (lie(codec=1), "does not know"),
        (lie(zero=1), "does not know"),
        (lie(length=BOUND + 1), "announces 1001 bytes"),
        (lie(length=2**32 - 1), "announces 4294967295 bytes"),
        (lie(length=0), "announces 0 bytes"),
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


@pytest.mark.parametrize("count", [1, 2, FETCH_DIGESTS_MAX])
def test_the_digests_of_a_fetch_come_back_in_order(count: int) -> None:
    wanted = [Digest(number.to_bytes(32)) for number in range(count)]
    found = decode_wanted(encode_wanted(wanted))
    assert found == wanted
    assert all(isinstance(digest, Digest) for digest in found)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 63, 32 * (FETCH_DIGESTS_MAX + 1)])
def test_a_fetch_of_none_too_many_or_parts_of_digests_is_refused(length: int) -> None:
    with pytest.raises(InvalidRequest, match="1 to 4096 digests of 32 bytes"):
        decode_wanted(bytes(length))
