"""Which frame may come next in the answer to a fetch."""

from __future__ import annotations

import pytest

from replicator.data_plane.replication.frame_order import FrameOrder
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer
from replicator.testing.peer_stream_contract import piece
from replicator.wire.frames import Codec, Frame, FrameStatus

EMPTY = memoryview(b"")


def frame(
    of: bytes, length: int, status: FrameStatus = FrameStatus.CHUNK, codec: Codec = Codec.PLAIN
) -> Frame:
    return Frame(Digest.of(of), status, codec, length)


def delta(of: bytes, length: int) -> Frame:
    return frame(of, length, FrameStatus.DELTA, Codec.ZSTD)


def test_frames_are_about_the_chunks_in_their_order() -> None:
    order = FrameOrder([piece(b"one", b"three"), piece(b"two", b"four", references=[b"old"]), piece(b"one")])
    taken = [
        order.take(each, EMPTY)[:3]
        for each in (
            frame(b"one", 3),
            frame(b"three", 2, codec=Codec.ZSTD),
            delta(b"two", 7),
            frame(b"one", 0, FrameStatus.MISSING),
        )
    ]
    assert taken == [(0, 0, 1), (0, 1, 1), (1, 0, 2), (2, 0, 1)]
    assert order.done
    assert not order.damaged


def test_a_run_with_references_may_come_chunk_by_chunk_but_not_by_halves() -> None:
    order = FrameOrder([piece(b"two", b"four", references=[b"old"])])
    assert order.payload_bytes_max == 7
    order.take(frame(b"two", 3), EMPTY)
    assert order.payload_bytes_max == 4
    with pytest.raises(BrokenPeer):
        order.take(delta(b"four", 4), EMPTY)


def test_nothing_is_taken_behind_the_last_frame_or_a_damaged_chunk() -> None:
    for last in (frame(b"one", 3), frame(b"one", 0, FrameStatus.CORRUPT)):
        order = FrameOrder([piece(b"one")] if last.length else [piece(b"one", b"two")])
        order.take(last, EMPTY)
        assert order.done
        assert order.payload_bytes_max == 0
        with pytest.raises(BrokenPeer):
            order.take(frame(b"two", 3), EMPTY)


@pytest.mark.parametrize(
    "wrong",
    [
        frame(b"two", 3),
        frame(b"one", 2),
        frame(b"one", 4),
        frame(b"one", 4, codec=Codec.ZSTD),
        delta(b"one", 3),
    ],
    ids=["another", "shorter", "longer", "longer compressed", "delta"],
)
def test_what_was_not_asked_for_is_refused(wrong: Frame) -> None:
    with pytest.raises(BrokenPeer):
        FrameOrder([piece(b"one")]).take(wrong, EMPTY)
