"""Taking a chunk stream apart while it arrives. Pure: see `wire.frames` for the bytes."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.data_plane.replication.frame_order import FrameOrder
from replicator.data_plane.replication.ports import Piece, Received
from replicator.kernel.errors import BrokenPeer
from replicator.wire.frames import FRAME_BYTES, decode_frame


class FrameTaker:
    """Takes whole frames as answers to a request for `pieces`, in their order, and refuses anything else."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._order = FrameOrder(pieces)

    @property
    def done(self) -> bool:
        """Whether everything has come, or the source has said that nothing follows."""
        return self._order.done

    @property
    def damaged(self) -> bool:
        """Whether the source said that a chunk is damaged there; what follows that is passed over."""
        return self._order.damaged

    def take(self, data: memoryview) -> tuple[list[Received], int]:
        """(frames, bytes used) of the frames that are whole in `data`, which begins with a frame.

        Raises:
            BrokenPeer: a frame that was not asked for, or of another length or form than asked for.
        """
        frames: list[Received] = []
        at = 0
        while not self.damaged and len(data) - at >= FRAME_BYTES:
            if self.done:
                raise BrokenPeer("the source sends more chunks than it was asked for")
            begin = at + FRAME_BYTES
            frame = decode_frame(data[at:begin], payload_bytes_max=self._order.payload_bytes_max)
            if begin + frame.length > len(data):
                break
            at = begin + frame.length
            frames.append(self._order.take(frame, data[begin:at]))
        return frames, at


def frame_bytes_max(pieces: Sequence[Piece]) -> int:
    """The longest frame that may come in answer to `pieces`."""
    return FRAME_BYTES + max(_payload_bytes_max(piece) for piece in pieces)


def stream_bytes_max(pieces: Sequence[Piece]) -> int:
    """The longest stream that may come in answer to `pieces`."""
    return sum(FRAME_BYTES + ref.length for piece in pieces for ref in piece.chunks)


def _payload_bytes_max(piece: Piece) -> int:
    lengths = [ref.length for ref in piece.chunks]
    return sum(lengths) if piece.references else max(lengths)
