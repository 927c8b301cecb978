"""Taking a chunk stream apart while it arrives. Pure: see `wire.frames` for the bytes."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, Corrupt, NotFound, ReplicatorError
from replicator.kernel.manifest import ChunkRef
from replicator.wire.frames import FRAME_BYTES, Frame, FrameStatus, decode_frame


class FrameTaker:
    """Takes whole frames, one for each of `refs` and in their order, and refuses anything else.

    Attributes:
        refusal: set once the source has said that it does not deliver; nothing is taken after it.
    """

    def __init__(self, refs: Sequence[ChunkRef]) -> None:
        self._refs = refs
        self._taken = 0
        self.refusal: ReplicatorError | None = None

    @property
    def done(self) -> bool:
        """Whether every chunk has come."""
        return self._taken == len(self._refs)

    def take(self, data: memoryview) -> tuple[list[tuple[Digest, memoryview]], int]:
        """(chunks, bytes used) of the frames that are whole in `data`, which begins with a frame.

        Raises:
            BrokenPeer: a frame that was not asked for, or of another length than asked for.
        """
        chunks: list[tuple[Digest, memoryview]] = []
        at = 0
        while self.refusal is None and len(data) - at >= FRAME_BYTES:
            frame = self._expect(data[at : at + FRAME_BYTES])
            if frame.status != FrameStatus.CHUNK:
                self.refusal = _refusal(frame)
                return chunks, at + FRAME_BYTES
            end = at + FRAME_BYTES + frame.length
            if end > len(data):
                break
            chunks.append((frame.digest, data[at + FRAME_BYTES : end]))
            self._taken += 1
            at = end
        return chunks, at

    def _expect(self, header: memoryview) -> Frame:
        if self.done:
            raise BrokenPeer("the source sends more chunks than it was asked for")
        ref = self._refs[self._taken]
        frame = decode_frame(header, payload_bytes_max=ref.length)
        if frame.status == FrameStatus.CHUNK and (frame.digest, frame.length) != ref:
            raise BrokenPeer(
                f"the source sends chunk {frame.digest} of {frame.length} bytes where {ref.digest} "
                f"of {ref.length} was asked for",
                digest=str(ref.digest),
            )
        return frame


def _refusal(frame: Frame) -> ReplicatorError:
    if frame.status == FrameStatus.CORRUPT:
        return Corrupt(f"chunk {frame.digest} is damaged at the source", digest=str(frame.digest))
    return NotFound(f"the source no longer has chunk {frame.digest}", digest=str(frame.digest))
