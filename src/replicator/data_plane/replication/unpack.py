"""From frames as they arrived to chunks that are proven: the inverse of `encode`, at the destination.

Nothing is believed. What a frame decodes to is bounded by what was asked for, and leaves here only under the
digest that it has. A chunk that came by itself and is wrong condemns its source. A delta that does not give the
chunks may be no fault of the source: the reference may be gone from here, or be damaged; so what it should have
brought is to be asked for again, without references.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import zstandard

from replicator.data_plane.ports import ChunkReader
from replicator.data_plane.replication.ports import Delivery, Piece, Received
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, Corrupt, NotFound
from replicator.kernel.manifest import ChunkRef
from replicator.wire.frames import Codec, FrameStatus

if TYPE_CHECKING:
    from typing_extensions import Buffer

WINDOW_BYTES_MAX = 16 * 1024 * 1024


@dataclass(slots=True)
class Unpacked:
    """What a delivery brought.

    Attributes:
        chunks: each matches its digest and length. They may lie in the delivery's buffers, and are good for as
            long as those.
        saved_bytes: of these, what did not travel thanks to delta and compression.
        missing: chunks that the source lacks.
        corrupt: chunks that are damaged at the source.
        resend: chunks that a delta should have brought: to be asked for without references, from any source.
    """

    chunks: list[tuple[Digest, Buffer]] = field(default_factory=list)
    saved_bytes: int = 0
    missing: list[ChunkRef] = field(default_factory=list)
    corrupt: list[ChunkRef] = field(default_factory=list)
    resend: list[ChunkRef] = field(default_factory=list)


class Unpacker:
    """Unpacks what a peer delivers. Thread-safe.

    Memory: for one delta at a time, its bytes and twice those of its references.

    Args:
        store: has the references. One that a hold keeps is not gone when its delta arrives.
    """

    def __init__(self, store: ChunkReader) -> None:
        self._store = store

    def unpack(self, pieces: Sequence[Piece], delivery: Delivery) -> Unpacked:
        """What `delivery`, in answer to a request for `pieces`, brought.

        Raises:
            BrokenPeer: a chunk that came by itself has other bytes than its digest says, or does not decode.
        """
        unpacked = Unpacked()
        for frame in delivery.frames:
            piece = pieces[frame.piece]
            if frame.status == FrameStatus.CHUNK:
                self._take_chunk(frame, piece.chunks[frame.first], unpacked)
                continue
            refs = piece.chunks[frame.first : frame.first + frame.chunks]
            match frame.status:
                case FrameStatus.DELTA:
                    self._take_delta(frame, refs, piece.references, unpacked)
                case FrameStatus.MISSING:
                    unpacked.missing.extend(refs)
                case FrameStatus.CORRUPT:
                    unpacked.corrupt.extend(refs)
        return unpacked

    def _take_chunk(self, frame: Received, ref: ChunkRef, unpacked: Unpacked) -> None:
        raw = frame.payload if frame.codec == Codec.PLAIN else _decode(frame.payload, ref.length)
        if raw is None or len(raw) != ref.length or Digest.of(raw) != ref.digest:
            raise BrokenPeer(f"the source sent other bytes as chunk {ref.digest}", digest=str(ref.digest))
        unpacked.chunks.append((ref.digest, raw))
        unpacked.saved_bytes += max(0, ref.length - len(frame.payload))

    def _take_delta(
        self, frame: Received, refs: Sequence[ChunkRef], references: Sequence[ChunkRef], unpacked: Unpacked
    ) -> None:
        raw = self._decode_delta(frame.payload, refs, references)
        if raw is None:
            unpacked.resend.extend(refs)
            return
        kept = end = 0
        for digest, length in refs:
            start, end = end, end + length
            if Digest.of(raw[start:end]) == digest:
                unpacked.chunks.append((digest, raw[start:end]))
                kept += length
            else:
                unpacked.resend.append(ChunkRef(digest, length))
        unpacked.saved_bytes += max(0, kept - len(frame.payload))

    def _decode_delta(
        self, payload: memoryview, refs: Sequence[ChunkRef], references: Sequence[ChunkRef]
    ) -> memoryview | None:
        try:
            older = self._store.read(references)
        except (NotFound, Corrupt):
            return None
        raw = _decode(payload, sum(ref.length for ref in refs), older)
        return None if raw is None else memoryview(raw)


def _decode(payload: memoryview, length: int, references: memoryview | None = None) -> bytes | None:
    """The `length` bytes that `payload` is a frame of; None where it is anything else.

    No more than `length` bytes are made, whatever it holds.
    """
    try:
        if payload[:4] != zstandard.FRAME_HEADER:
            return None
        frame = zstandard.get_frame_parameters(payload)
        if frame.content_size != length or frame.dict_id or frame.window_size > WINDOW_BYTES_MAX:
            return None
        decompressor = _thread.plain if references is None else _with_dictionary(references)
        raw = decompressor.decompress(payload, allow_extra_data=False)
    except zstandard.ZstdError:
        return None
    return raw if len(raw) == length else None


def _with_dictionary(references: memoryview) -> zstandard.ZstdDecompressor:
    older = zstandard.ZstdCompressionDict(references, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdDecompressor(dict_data=older, max_window_size=WINDOW_BYTES_MAX)


class _Decompressor(threading.local):
    def __init__(self) -> None:
        self.plain = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)


_thread = _Decompressor()
