"""The bytes that are stored: generated, shared with the client's process and touched before any timing.

One anonymous shared mapping holds the object (seeded random bytes, which neither compress nor repeat) and,
after it, the bytes that its edited versions put in. A body is a run of slices of that mapping, so an edit
costs no copy and the client sends straight from it.
"""

from __future__ import annotations

import hashlib
import mmap
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

MIB = 1 << 20
GIB = 1 << 30
_OVERWRITES_PER_GIB = 32
_INSERTS_PER_GIB = 1000
_INSERT_BYTES_MIN, _INSERT_BYTES_MAX = 1024, 4096
_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Slice:
    """Bytes of the payload, from `start` to `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Body:
    """An object's bytes as slices, and how many of them are not in the original."""

    slices: tuple[Slice, ...]
    bytes_changed: int

    @property
    def size(self) -> int:
        """Length in bytes."""
        return sum(piece.end - piece.start for piece in self.slices)


class Payload:
    """The mapping. Processes forked after it was made see the same bytes."""

    def __init__(self, object_bytes: int) -> None:
        self._object_bytes = object_bytes
        self._overwrites = max(1, _OVERWRITES_PER_GIB * object_bytes // GIB)
        self._inserts = max(1, _INSERTS_PER_GIB * object_bytes // GIB)
        extra = max(self._overwrites * MIB, self._inserts * _INSERT_BYTES_MAX)
        self._mapping = mmap.mmap(-1, object_bytes + extra)
        self.view = memoryview(self._mapping)
        self._seed = 0

    def fill(self, seed: int) -> None:
        """Replace every byte by the random ones of `seed`."""
        self._seed = seed
        source = random.Random(seed)
        for start in range(0, len(self.view), MIB):
            length = min(MIB, len(self.view) - start)
            self.view[start : start + length] = source.randbytes(length)

    def touch(self) -> None:
        """Map every page into this process, so that no later timing pays for it."""
        for start in range(0, len(self.view), _PAGE_BYTES):
            _ = self.view[start]

    def original(self, size: int | None = None) -> Body:
        """The object itself, or its first `size` bytes."""
        return Body((Slice(0, size or self._object_bytes),), 0)

    def overwritten(self) -> Body:
        """v2a: scattered overwrites of 1 MiB, 32 of them in each GiB."""
        source = random.Random(f"overwrites {self._seed}")
        spare = (self._object_bytes - self._overwrites * MIB) // self._overwrites
        slices, at, extra = [], 0, self._object_bytes
        for index in range(self._overwrites):
            start = index * (spare + MIB) + source.randrange(spare + 1)
            slices += [Slice(at, start), Slice(extra, extra + MIB)]
            at, extra = start + MIB, extra + MIB
        return Body((*slices, Slice(at, self._object_bytes)), self._overwrites * MIB)

    def inserted(self) -> Body:
        """v2b: inserts of 1 to 4 KiB spread over the object, 1,000 of them in each GiB."""
        source = random.Random(f"inserts {self._seed}")
        places = sorted(source.randrange(self._object_bytes) for _ in range(self._inserts))
        slices, extra = [], self._object_bytes
        for start, end in pairwise([0, *places, self._object_bytes]):
            slices.append(Slice(start, end))
            if len(slices) < 2 * self._inserts:
                length = source.randint(_INSERT_BYTES_MIN, _INSERT_BYTES_MAX)
                slices.append(Slice(extra, extra + length))
                extra += length
        return Body(tuple(slices), extra - self._object_bytes)

    def blocks(self, body: Body, block_bytes: int = MIB) -> Iterator[memoryview]:
        """The bytes of `body` in order, in views of at most `block_bytes`."""
        for piece in body.slices:
            for start in range(piece.start, piece.end, block_bytes):
                yield self.view[start : min(start + block_bytes, piece.end)]

    def sha256(self, body: Body) -> str:
        """SHA-256 of `body` in lowercase hex."""
        digest = hashlib.sha256()
        for block in self.blocks(body):
            digest.update(block)
        return digest.hexdigest()
