"""References are named as long as anything is found in them."""

from __future__ import annotations

from replicator.data_plane.replication.ports import Delivery, Piece, Received
from replicator.data_plane.replication.worth import FRUITLESS_MAX, TRIED_EVERY, Worth
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import ChunkRef
from replicator.wire.frames import Codec, FrameStatus

NEW = [ChunkRef(Digest.of(b"new"), 3)]
OLD = [ChunkRef(Digest.of(b"old"), 3)]
PIECE = Piece(NEW, OLD)


def came(worth: Worth, *statuses: FrameStatus) -> None:
    pieces = [PIECE] * len(statuses)
    frames = [
        Received(number, 0, 1, status, Codec.PLAIN, memoryview(b"new"))
        for number, status in enumerate(statuses)
    ]
    worth.note(pieces, Delivery(frames, 100))


def named(worth: Worth, count: int) -> int:
    asked = worth.pieces([PIECE] * count)
    assert [piece.chunks for piece in asked] == [NEW] * count
    return sum(1 for piece in asked if piece.references)


def test_references_are_named_while_some_runs_are_found_in_them() -> None:
    worth = Worth()
    for _ in range(20):
        came(worth, *[FrameStatus.CHUNK] * (FRUITLESS_MAX - 1), FrameStatus.DELTA)
        assert named(worth, 100) == 100


def test_references_that_nothing_is_found_in_are_tried_now_and_then() -> None:
    worth = Worth()
    came(worth, *[FrameStatus.CHUNK] * FRUITLESS_MAX)
    assert named(worth, 4 * TRIED_EVERY) == 4
    came(worth, FrameStatus.CHUNK)
    assert named(worth, 4 * TRIED_EVERY) == 4
    came(worth, FrameStatus.DELTA)
    assert named(worth, 100) == 100


def test_what_the_source_lacks_says_nothing() -> None:
    worth = Worth()
    came(worth, *[FrameStatus.MISSING] * 2 * FRUITLESS_MAX)
    assert named(worth, 10) == 10


def test_chunks_that_were_asked_for_plainly_say_nothing() -> None:
    worth = Worth()
    plain = [Received(0, 0, 1, FrameStatus.CHUNK, Codec.PLAIN, memoryview(b"new"))] * 2 * FRUITLESS_MAX
    worth.note([Piece(NEW)], Delivery(plain, 100))
    assert named(worth, 10) == 10
