"""Chunks at rest in fewer bytes: which ones are compressed, and how a compressed one is read back.

Trying to compress what does not shrink costs a quarter of the speed of ingest. So a batch is looked at first:
four pieces of a kibibyte from places spread over it are compressed together, and where they do not shrink by
a sixteenth every chunk is stored as it is. A batch comes from one body, or from a group of small ones, and is
judged alone: no history has to be kept, and bodies that arrive side by side do not spoil each other's. What
repeats only at a distance is not seen; finding that is the business of chunk digests.

A compressed chunk is one zstd frame (RFC 8878) that states the length of its content and needs no dictionary.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import zstandard

from replicator.data_plane.storage.record import CODEC_NONE, CODEC_ZSTD
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt

if TYPE_CHECKING:
    from typing_extensions import Buffer

LEVEL = 1
WINDOW_BYTES_MAX = 8 * 1024 * 1024
_KEPT_GAIN = 8
_LOOK_GAIN = 16
_LOOK_PIECES = 4
_LOOK_PIECE_BYTES = 1024


class Encoded(NamedTuple):
    """The bytes to store for a chunk, and the codec they are in."""

    codec: int
    stored: Buffer


class ChunkCompressor:
    """Compresses chunks where that pays. Thread-safe.

    Memory: two zstd contexts for each thread that calls, about a mebibyte.

    Args:
        level: of zstd. The higher ones take much longer for little on chunks of this size.
    """

    def __init__(self, level: int = LEVEL) -> None:
        self._thread = _Compressor(level)

    def is_promising(self, payloads: Sequence[Buffer]) -> bool:
        """Whether to compress the chunks of this batch; a short look at a few places of it."""
        if not payloads:
            return False
        look = _look(payloads)
        return _shrinks(look, self._thread.look.compress(look), by=_LOOK_GAIN)

    def encode(self, payload: Buffer) -> Encoded:
        """How to store a chunk; as it is where it does not shrink by an eighth, the bound of ZFS and RocksDB."""
        compressed = self._thread.whole.compress(memoryview(payload))
        if _shrinks(payload, compressed, by=_KEPT_GAIN):
            return Encoded(CODEC_ZSTD, compressed)
        return Encoded(CODEC_NONE, payload)


def decode(stored: memoryview, *, codec: int, digest: Digest, into: memoryview) -> None:
    """Fill `into`, which is as long as the chunk `digest` is, from the bytes stored for it.

    Makes no more bytes than `into` takes, whatever `stored` holds. The digest is only named, not checked.

    Raises:
        Corrupt: `stored` is anything but one chunk of that length in that codec.
    """
    try:
        raw = _decoded(stored, codec, len(into))
    except zstandard.ZstdError as error:
        raise Corrupt(f"a compressed chunk does not decode: {error}", digest=str(digest)) from error
    if raw is None or len(raw) != len(into):
        raise Corrupt("the stored bytes of a chunk are not of its codec and length", digest=str(digest))
    into[:] = raw


class _Compressor(threading.local):
    def __init__(self, level: int) -> None:
        self.whole = zstandard.ZstdCompressor(level=level)
        # The table is emptied for each look and out of the processor's caches by then: a small one is twice as quick.
        small = zstandard.ZstdCompressionParameters.from_level(1, window_log=12, hash_log=9)
        self.look = zstandard.ZstdCompressor(compression_params=small)


class _Decompressor(threading.local):
    def __init__(self) -> None:
        self.context = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)


_thread = _Decompressor()


def _look(payloads: Sequence[Buffer]) -> bytes:
    pieces = []
    for number in range(_LOOK_PIECES):
        view = memoryview(payloads[number * len(payloads) // _LOOK_PIECES])
        # Not at the same place of each: few chunks give several pieces, and small ones are simply tried.
        start = max(0, len(view) - _LOOK_PIECE_BYTES) * (number + 1) // (_LOOK_PIECES + 1)
        pieces.append(view[start : start + _LOOK_PIECE_BYTES])
    return b"".join(pieces)


def _shrinks(raw: Buffer, compressed: bytes, *, by: int) -> bool:
    length = len(memoryview(raw))
    return len(compressed) < length - length // by


def _decoded(stored: memoryview, codec: int, raw_length: int) -> bytes | memoryview | None:
    """None where it is plain, without decoding, that `stored` does not hold a chunk of that length."""
    if codec == CODEC_NONE:
        return stored
    if codec != CODEC_ZSTD or stored[:4] != zstandard.FRAME_HEADER:
        return None
    frame = zstandard.get_frame_parameters(stored)
    if frame.content_size != raw_length or frame.dict_id:
        return None
    return _thread.context.decompress(stored, allow_extra_data=False)
