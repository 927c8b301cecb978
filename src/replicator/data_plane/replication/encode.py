"""Writing chunk bytes in fewer: a run of chunks against older bytes, or a chunk by itself.

A delta is one zstd frame (RFC 8878) of all the bytes of a run, made with the reference bytes as raw-content
dictionary; a compressed chunk is one such frame without a dictionary. Both state the length of their content.
`unpack` reads them.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import zstandard

from replicator.wire.frames import DELTA_BYTES_MAX

Bytes = bytes | bytearray | memoryview

_KEPT_GAIN = 8
_DELTA_GAIN = 32
_LOOK_GAIN = 16
_LOOK_PIECES = 4
_LOOK_PIECE_BYTES = 1024

# Reaches from the end of the longest run to the beginning of the longest references.
_DELTA_WINDOW_LOG = (2 * DELTA_BYTES_MAX).bit_length() - 1
_DELTA_MATCH_BYTES_MIN = 7
_BYTES_PER_ROW_LOG = 4
_ROWS_LOG_MIN, _ROWS_LOG_MAX = 10, 20


def encode_delta(parts: Sequence[Bytes], references: Bytes) -> bytes | None:
    """The bytes of `parts`, one after the other, as a delta against `references`; most of the time without the GIL.

    Memory: the bytes of both sides once more, and tables of about the same size.

    Args:
        parts: at most `DELTA_BYTES_MAX` bytes, as are the references.

    Returns:
        None where it does not save a thirty-second of the bytes: the work is done by then, and reading it is cheap.
    """
    raw = parts[0] if len(parts) == 1 else b"".join(parts)
    older = zstandard.ZstdCompressionDict(references, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    parameters = _delta_parameters(len(raw) + len(references))
    delta = zstandard.ZstdCompressor(dict_data=older, compression_params=parameters).compress(raw)
    return delta if _shrinks(raw, delta, by=_DELTA_GAIN) else None


def _delta_parameters(byte_count: int) -> zstandard.ZstdCompressionParameters:
    """Matches of old bytes are long: the quickest strategy finds them, if its table has room for all places."""
    rows_log = byte_count.bit_length() - _BYTES_PER_ROW_LOG
    return zstandard.ZstdCompressionParameters.from_level(
        1,
        window_log=_DELTA_WINDOW_LOG,
        hash_log=max(_ROWS_LOG_MIN, min(rows_log, _ROWS_LOG_MAX)),
        min_match=_DELTA_MATCH_BYTES_MIN,
        strategy=zstandard.STRATEGY_FAST,
    )


def compress_chunk(chunk: Bytes) -> bytes | None:
    """`chunk` compressed, or None where it is not an eighth shorter so.

    Most of what is compressed already costs a look alone: four pieces of a kibibyte from places spread over the
    chunk, which must shrink by a sixteenth.
    """
    look = _look(memoryview(chunk))
    if not _shrinks(look, _thread.look.compress(look), by=_LOOK_GAIN):
        return None
    compressed = _thread.whole.compress(chunk)
    return compressed if _shrinks(chunk, compressed, by=_KEPT_GAIN) else None


class _Compressors(threading.local):
    """Contexts of one thread, about a mebibyte."""

    def __init__(self) -> None:
        self.whole = zstandard.ZstdCompressor(level=1)
        # The table is emptied for each look and out of the processor's caches by then: a small one is twice as quick.
        small = zstandard.ZstdCompressionParameters.from_level(1, window_log=12, hash_log=9)
        self.look = zstandard.ZstdCompressor(compression_params=small)


_thread = _Compressors()


def _look(chunk: memoryview) -> bytes:
    last = max(0, len(chunk) - _LOOK_PIECE_BYTES)
    if not last:
        return bytes(chunk)
    starts = [last * number // (_LOOK_PIECES - 1) for number in range(_LOOK_PIECES)]
    return b"".join([chunk[start : start + _LOOK_PIECE_BYTES] for start in starts])


def _shrinks(raw: Bytes, shorter: bytes, *, by: int) -> bool:
    length = len(raw)
    return len(shorter) < length - length // by
