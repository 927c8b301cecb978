"""Content-defined chunking: FastCDC 2020 (Xia et al., IEEE TPDS 31(9)), normalisation level 1.

Boundaries depend on content alone: cutting is deterministic, does not depend on how the bytes are fed, and
the pieces concatenate back. The rolling hash starts anew at each boundary, so a piece that ends only
because the bytes ran out is held back and cut again together with what follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import pyfastcdc

from replicator.kernel.errors import InvalidRequest, Unavailable

KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """Parameters of the cut, in bytes; kept in every manifest.

    Within the bounds of FastCDC 2020. The minimum is even because the algorithm takes two bytes at a step.
    """

    chunk_bytes_min: int = 16 * KIB
    chunk_bytes_avg: int = 64 * KIB
    chunk_bytes_max: int = 256 * KIB

    def __post_init__(self) -> None:
        low, average, high = self.chunk_bytes_min, self.chunk_bytes_avg, self.chunk_bytes_max
        within = 64 <= low <= KIB * KIB and 256 <= average <= 4 * KIB * KIB and KIB <= high <= 16 * KIB * KIB
        if not within or not low <= average <= high or low % 2:
            raise InvalidRequest(
                "chunking wants an even min of 64 B to 1 MiB, avg of 256 B to 4 MiB, max of 1 KiB to 16 MiB, "
                "and min <= avg <= max",
                min=low,
                avg=average,
                max=high,
            )


DEFAULT_CHUNKING = Chunking()


def require_native_chunker() -> None:
    """Refuse the pure-Python build of pyfastcdc, which is some hundred times slower.

    Raises:
        Unavailable: the compiled extension did not load.
    """
    if not pyfastcdc.FastCDC.__module__.startswith("pyfastcdc.cy"):
        raise Unavailable(
            "pyfastcdc fell back to its pure-Python chunker; "
            "reinstall pyfastcdc with its compiled extension (a wheel, or a C compiler at install time)"
        )


class Chunker:
    """Cuts one stream that is fed in blocks. Not thread-safe; releases the GIL while it scans."""

    def __init__(self, chunking: Chunking = DEFAULT_CHUNKING) -> None:
        self._chunking = chunking
        self._tail = b""

    def feed(self, *blocks: bytes | bytearray | memoryview) -> Iterator[memoryview]:
        """The pieces that are certain once `blocks`, one after the other, are known; in order.

        A single block is cut in place where nothing is held back, so it must not change until the iterator
        has ended and its pieces have been used. Run the iterator to its end before the next call.
        """
        parts = (self._tail, *blocks) if self._tail else blocks
        data = memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
        self._tail = b""
        if len(data) <= self._chunking.chunk_bytes_min:
            self._tail = bytes(data)
            return
        for cut in self._cdc.cut_buf(data):
            end = cut.offset + cut.length
            if end == len(data) and cut.length < self._chunking.chunk_bytes_max:
                self._tail = bytes(data[cut.offset : end])
                return
            yield data[cut.offset : end]

    @cached_property
    def _cdc(self) -> pyfastcdc.FastCDC:
        # Made at its first use: most small bodies never need it.
        return pyfastcdc.FastCDC(
            self._chunking.chunk_bytes_avg,
            min_size=self._chunking.chunk_bytes_min,
            max_size=self._chunking.chunk_bytes_max,
        )

    def finish(self) -> Iterator[memoryview]:
        """The last piece, if any bytes are left. The chunker is then empty again."""
        tail, self._tail = self._tail, b""
        if tail:
            yield memoryview(tail)
