"""Whether references are worth naming. Pure.

A source that looks for old bytes in a run and finds none has worked in vain, at a fifth of the speed at which it
sends. One such run says nothing: part of an object may be new. But an object whose every version is encrypted anew
has no run in which anything is found. So after `FRUITLESS_MAX` in a row references are left out, but for a run now
and then, until one of these comes as a delta.
"""

from __future__ import annotations

from collections.abc import Sequence

from replicator.data_plane.replication.ports import Delivery, Piece
from replicator.wire.frames import FrameStatus

FRUITLESS_MAX = 6
TRIED_EVERY = 32


class Worth:
    """Learns from what comes, for the pieces of one object and version before it. Not for several threads at once."""

    def __init__(self) -> None:
        self._fruitless = 0
        self._left_out = 0

    def pieces(self, pieces: Sequence[Piece]) -> list[Piece]:
        """What to ask for: the same chunks in the same pieces, with the references that are worth it."""
        return [Piece(piece.chunks) if self._leaves_out(piece) else piece for piece in pieces]

    def note(self, pieces: Sequence[Piece], delivery: Delivery) -> None:
        """What came of `pieces`, which were asked for. A piece counts with its first chunk."""
        for frame in delivery.frames:
            if frame.status == FrameStatus.DELTA:
                self._fruitless = 0
            elif frame.status == FrameStatus.CHUNK and frame.first == 0 and pieces[frame.piece].references:
                self._fruitless += 1

    def _leaves_out(self, piece: Piece) -> bool:
        if not piece.references or self._fruitless < FRUITLESS_MAX:
            return False
        self._left_out += 1
        return self._left_out % TRIED_EVERY != 0
