"""Which frame may come next in the answer to a fetch. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.data_plane.replication.ports import Piece, Received
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer
from replicator.wire.frames import Codec, Frame, FrameStatus


class FrameOrder:
    """Follows the frames that answer a request for `pieces`.

    Attributes:
        damaged: whether the source said that a chunk is damaged there; nothing is taken behind that.
        done: whether nothing may follow: everything came, or that.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._piece = 0
        self._first = 0
        self.damaged = False
        self.done = not pieces

    @property
    def payload_bytes_max(self) -> int:
        """The longest payload that the next frame may have; 0 where none may follow."""
        if self.done:
            return 0
        piece = self._pieces[self._piece]
        if piece.references and self._first == 0:
            return sum(ref.length for ref in piece.chunks)
        return piece.chunks[self._first].length

    def take(self, frame: Frame, payload: memoryview) -> Received:
        """What `frame`, the next one, is about. Raises `BrokenPeer` where it may not come here."""
        if self.done:
            raise BrokenPeer("the source sends more frames than it was asked for")
        piece, first = self._pieces[self._piece], self._first
        self._check(frame, piece.chunks[first].digest)
        count = 1
        if frame.status == FrameStatus.DELTA:
            if not piece.references or first:
                raise BrokenPeer(
                    "the source sends a delta where none was asked for", digest=str(frame.digest)
                )
            count = len(piece.chunks)
        taken = Received(self._piece, first, count, frame.status, frame.codec, payload)
        self.damaged = frame.status == FrameStatus.CORRUPT
        self._go_on(count)
        return taken

    def _check(self, frame: Frame, wanted: Digest) -> None:
        if frame.digest != wanted:
            raise BrokenPeer(
                f"the source sends chunk {frame.digest} where {wanted} was asked for", digest=str(wanted)
            )
        longest = self.payload_bytes_max
        plain = frame.status == FrameStatus.CHUNK and frame.codec == Codec.PLAIN
        expected = self._pieces[self._piece].chunks[self._first].length if plain else None
        if frame.length > longest or expected not in (None, frame.length):
            raise BrokenPeer(
                f"the source sends {frame.length} bytes for chunk {wanted} where {expected or longest} can be right",
                digest=str(wanted),
            )

    def _go_on(self, count: int) -> None:
        self._first += count
        if self._first == len(self._pieces[self._piece].chunks):
            self._piece += 1
            self._first = 0
        self.done = self.damaged or self._piece == len(self._pieces)
