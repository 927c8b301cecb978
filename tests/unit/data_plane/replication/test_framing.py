"""Taking a stream of frames apart, however it was cut on its way."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.data_plane.replication.framing import FrameTaker, frame_bytes_max, stream_bytes_max
from replicator.data_plane.replication.ports import Piece, Received
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer
from replicator.kernel.manifest import ChunkRef
from replicator.testing.lies import frame
from replicator.wire.frames import FRAME_BYTES, Codec, FrameStatus

CHUNKS = [bytes([number]) * (100 + number) for number in range(8)]
REFS = [ChunkRef(Digest.of(chunk), len(chunk)) for chunk in CHUNKS]
PIECES = [Piece(REFS[:2]), Piece(REFS[2:5], REFS[5:]), Piece(REFS[5:6]), Piece(REFS[6:8], REFS[:1])]
# A chunk, a compressed one, a delta of three, one the source lacks, and chunks where a delta was possible.
STREAM = b"".join(
    [
        frame(REFS[0].digest, CHUNKS[0]),
        frame(REFS[1].digest, b"zstd", codec=Codec.ZSTD),
        frame(REFS[2].digest, b"delta", FrameStatus.DELTA, Codec.ZSTD),
        frame(REFS[5].digest, b"", FrameStatus.MISSING),
        frame(REFS[6].digest, CHUNKS[6]),
        frame(REFS[7].digest, b"zs", codec=Codec.ZSTD),
    ]
)


def take_in_parts(stream: bytes, cuts: list[int]) -> tuple[list[Received], FrameTaker]:
    taker = FrameTaker(PIECES)
    taken: list[Received] = []
    carried = b""
    bounds = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in pairwise(bounds):
        data = carried + stream[start:end]
        frames, used = taker.take(memoryview(data))
        taken += [each._replace(payload=memoryview(bytes(each.payload))) for each in frames]
        carried = data[used:]
    assert not carried
    return taken, taker


@given(st.lists(st.integers(0, 10_000), max_size=20))
def test_frames_come_whole_however_the_stream_is_cut(cuts: list[int]) -> None:
    taken, taker = take_in_parts(STREAM, cuts)
    assert taker.done
    assert [(each.piece, each.first, each.chunks) for each in taken] == [
        (0, 0, 1),
        (0, 1, 1),
        (1, 0, 3),
        (2, 0, 1),
        (3, 0, 1),
        (3, 1, 1),
    ]
    assert [bytes(each.payload) for each in taken] == [CHUNKS[0], b"zstd", b"delta", b"", CHUNKS[6], b"zs"]


def test_nothing_is_taken_behind_a_damaged_chunk() -> None:
    taker = FrameTaker(PIECES)
    damaged = frame(REFS[0].digest, b"", FrameStatus.CORRUPT)
    frames, used = taker.take(memoryview(damaged + b"whatever follows, however long it may be"))
    assert [each.status for each in frames] == [FrameStatus.CORRUPT]
    assert used == FRAME_BYTES
    assert (taker.damaged, taker.done) == (True, True)


REFUSED = {
    "more than asked for": STREAM + frame(REFS[0].digest, CHUNKS[0]),
    "another chunk": frame(REFS[1].digest, CHUNKS[1]),
    "a longer chunk": frame(REFS[0].digest, CHUNKS[0] + b"x"),
    "a shorter chunk": frame(REFS[0].digest, CHUNKS[0][:-1]),
    "a compressed chunk longer than the chunk": frame(REFS[0].digest, bytes(101), codec=Codec.ZSTD),
    "a delta of a piece without references": frame(REFS[0].digest, b"d", FrameStatus.DELTA, Codec.ZSTD),
    "a delta of another piece": STREAM[: 2 * FRAME_BYTES + 104]
    + frame(REFS[6].digest, b"d", FrameStatus.DELTA, Codec.ZSTD),
    "a delta behind the first chunk of its piece": STREAM[: 2 * FRAME_BYTES + 104]
    + frame(REFS[2].digest, CHUNKS[2])
    + frame(REFS[3].digest, b"d", FrameStatus.DELTA, Codec.ZSTD),
    "a delta longer than its chunks": STREAM[: 2 * FRAME_BYTES + 104]
    + frame(REFS[2].digest, bytes(310), FrameStatus.DELTA, Codec.ZSTD),
    "a delta that is not compressed": STREAM[: 2 * FRAME_BYTES + 104]
    + frame(REFS[2].digest, b"d", FrameStatus.DELTA),
    "a missing chunk with bytes": REFS[0].digest + bytes([FrameStatus.MISSING, 0, 0, 0, 0, 0, 0, 1]) + b"x",
    "an unknown status": REFS[0].digest + bytes([9, 0, 0, 0, 0, 0, 0, 1]) + b"x",
    "reserved bits": REFS[0].digest + bytes([0, 0, 0, 1, 0, 0, 0, 100]) + CHUNKS[0],
}


@pytest.mark.parametrize("stream", REFUSED.values(), ids=REFUSED.keys())
def test_what_was_not_asked_for_is_refused(stream: bytes) -> None:
    with pytest.raises(BrokenPeer):
        FrameTaker(PIECES).take(memoryview(stream))


def test_a_frame_that_is_announced_too_long_is_refused_before_it_comes() -> None:
    endless = frame(REFS[0].digest, bytes(1 << 20))[: FRAME_BYTES + 1]
    with pytest.raises(BrokenPeer):
        FrameTaker(PIECES).take(memoryview(endless))


def test_the_bounds_are_those_of_chunks_as_they_are() -> None:
    plain = sum(FRAME_BYTES + ref.length for ref in REFS)
    assert stream_bytes_max(PIECES) == plain
    assert frame_bytes_max(PIECES) == FRAME_BYTES + 102 + 103 + 104
    assert frame_bytes_max([Piece(REFS)]) == FRAME_BYTES + 107
