"""Manifests: the ordered chunk references that rebuild one object, in one canonical encoding.

A manifest is a root, and for objects of more than `PAGE_ENTRIES` chunks a run of pages below it. All
integers are big-endian::

    root    "RPLM" | format u8 = 1 | depth u8 | zero u16 | chunk min u32 | avg u32 | max u32
            | object bytes u64 | chunks u64 | body
    body    depth 0: entries;  depth 1: page references
    page    "RPLP" | format u8 = 1 | zero u24 | entries
    entry   SHA-256 of the chunk, 32 bytes | chunk bytes u32
    page reference   SHA-256 of the page, 32 bytes | object bytes the page covers u64

The digest of the root names the manifest, and through it every page and every chunk: a page can be checked
the moment it arrives, and nothing larger than a page or a root is ever held. There is one encoding of a
given sequence of chunks: depth is 0 exactly when all entries fit one page, every page but the last is full,
no entry is empty, and reserved bytes are zero. Decoding refuses anything else.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, cast

from replicator.kernel.chunker import DEFAULT_CHUNKING, Chunking
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt, InvalidRequest, TooLarge

PAGE_ENTRIES = 4096
PAGES_MAX = 65_536

_ROOT = struct.Struct(">4sBBHIIIQQ")
_PAGE = struct.Struct(">4sB3s")
_ENTRY = struct.Struct(">32sI")
_PAGE_REF = struct.Struct(">32sQ")
_ROOT_MAGIC, PAGE_MAGIC, _FORMAT = b"RPLM", b"RPLP", 1

ROOT_BYTES_MAX = _ROOT.size + max(PAGE_ENTRIES * _ENTRY.size, PAGES_MAX * _PAGE_REF.size)
PAGE_BYTES_MAX = _PAGE.size + PAGE_ENTRIES * _ENTRY.size


class ChunkRef(NamedTuple):
    """One chunk as a manifest names it; `length` in bytes."""

    digest: Digest
    length: int


class PageRef(NamedTuple):
    """One page as a root names it; `length` is the object bytes that the page covers."""

    digest: Digest
    length: int


@dataclass(frozen=True)
class Manifest:
    """A decoded root. Exactly one of `entries` (depth 0) and `pages` (depth 1) can be non-empty."""

    chunking: Chunking
    size: int
    chunk_count: int
    entries: tuple[ChunkRef, ...] = ()
    pages: tuple[PageRef, ...] = ()
    # Kept once known. `cached_property` would do, but its lock costs a small upload more than the encoding.
    _encoded: bytes | None = field(default=None, repr=False, compare=False)
    _digest: Digest | None = field(default=None, repr=False, compare=False)

    @property
    def encoded(self) -> bytes:
        """The canonical bytes of the root."""
        if self._encoded is None:
            object.__setattr__(self, "_encoded", _encode_root(self))
        return cast("bytes", self._encoded)

    @property
    def digest(self) -> Digest:
        """The manifest's name."""
        if self._digest is None:
            object.__setattr__(self, "_digest", Digest.of(self.encoded))
        return cast("Digest", self._digest)

    @property
    def page_count(self) -> int:
        """How many pages lie below the root; 0 where the entries are in the root itself."""
        return len(self.pages)


def decode_manifest(data: bytes, expected: Digest | None = None) -> Manifest:
    """The root encoded in `data`.

    Args:
        data: canonical bytes.
        expected: the digest that `data` must have, where it came from somewhere that may err.

    Raises:
        Corrupt: `data` is not the canonical encoding of any manifest, or not the expected one.
    """
    if expected is not None and Digest.of(data) != expected:
        raise Corrupt("a manifest does not match its digest", digest=str(expected))
    if not _ROOT.size <= len(data) <= ROOT_BYTES_MAX:
        raise Corrupt(f"a manifest of {len(data)} bytes")
    magic, fmt, depth, zero, low, avg, high, size, count = _ROOT.unpack_from(data)
    if (magic, fmt, zero) != (_ROOT_MAGIC, _FORMAT, 0) or depth not in (0, 1):
        raise Corrupt("not a manifest of format 1")
    chunking = _chunking(low, avg, high)
    body = memoryview(data)[_ROOT.size :]
    if depth == 0:
        entries = _decode_entries(body)
        _require(all(ref.length <= high for ref in entries), "chunk lengths")
        manifest = Manifest(chunking, size, count, entries=entries)
        _require(count == len(manifest.entries), "chunk count")
        _require(size == sum(ref.length for ref in manifest.entries), "object size")
        return manifest
    _require(len(body) % _PAGE_REF.size == 0, "length of the page table")
    pages = tuple(PageRef(Digest(raw), length) for raw, length in _PAGE_REF.iter_unpack(body))
    _require(count > PAGE_ENTRIES and len(pages) == -(-count // PAGE_ENTRIES), "number of pages")
    _require(size == sum(ref.length for ref in pages), "object size")
    manifest = Manifest(chunking, size, count, pages=pages)
    for index, page in enumerate(pages):
        rows = page_entry_count(manifest, index)
        _require(rows <= page.length <= rows * high, "bytes of a page")
    return manifest


def _encode_root(manifest: Manifest) -> bytes:
    cut = manifest.chunking
    head = _ROOT.pack(
        _ROOT_MAGIC,
        _FORMAT,
        1 if manifest.pages else 0,
        0,
        cut.chunk_bytes_min,
        cut.chunk_bytes_avg,
        cut.chunk_bytes_max,
        manifest.size,
        manifest.chunk_count,
    )
    row = _PAGE_REF if manifest.pages else _ENTRY
    return head + b"".join([row.pack(*ref) for ref in manifest.pages or manifest.entries])


def page_entry_count(manifest: Manifest, index: int) -> int:
    """How many entries page `index` of `manifest` must have."""
    return min(PAGE_ENTRIES, manifest.chunk_count - index * PAGE_ENTRIES)


def encode_page(entries: Iterable[ChunkRef]) -> bytes:
    """The canonical bytes of a page."""
    return _PAGE.pack(PAGE_MAGIC, _FORMAT, bytes(3)) + b"".join(_ENTRY.pack(*ref) for ref in entries)


def decode_page(data: bytes, manifest: Manifest, index: int) -> tuple[ChunkRef, ...]:
    """The entries of page `index` of `manifest`, checked against the reference in its root.

    Raises:
        Corrupt: `data` is not that page.
    """
    ref = manifest.pages[index]
    if Digest.of(data) != ref.digest:
        raise Corrupt("a manifest page does not match its digest", digest=str(ref.digest))
    entries = decode_detached_page(data)
    _require(all(ref.length <= manifest.chunking.chunk_bytes_max for ref in entries), "chunk lengths")
    _require(len(entries) == page_entry_count(manifest, index), "entries in a page")
    _require(sum(entry.length for entry in entries) == ref.length, "bytes of a page")
    return entries


def decode_detached_page(data: bytes) -> tuple[ChunkRef, ...]:
    """The entries of a page whose root is not known: only its form is checked.

    Raises:
        Corrupt: `data` is no page.
    """
    _require(len(data) >= _PAGE.size, "length of a page")
    _require(_PAGE.unpack_from(data) == (PAGE_MAGIC, _FORMAT, bytes(3)), "page header")
    return _decode_entries(memoryview(data)[_PAGE.size :])


class ManifestBuilder:
    """Builds a manifest from its chunks in order, holding at most one page of entries.

    Memory: one page, plus 40 bytes for each page before it.
    """

    def __init__(self, chunking: Chunking = DEFAULT_CHUNKING) -> None:
        self._chunking = chunking
        self._open: list[ChunkRef] = []
        self._pages: list[PageRef] = []
        self._count = 0
        self.size = 0

    def add(self, ref: ChunkRef) -> tuple[int, bytes, Sequence[ChunkRef]] | None:
        """Append one chunk.

        Returns:
            (index, encoded, entries) of the page that this chunk shows to be complete, else None.

        Raises:
            TooLarge: the object has more than `PAGES_MAX` pages of chunks.
        """
        full = self._close_page() if len(self._open) == PAGE_ENTRIES else None
        self._open.append(ref)
        self._count += 1
        self.size += ref.length
        return full

    def finish(self) -> tuple[Manifest, tuple[int, bytes, Sequence[ChunkRef]] | None]:
        """The manifest, and its last page where it has pages; raises `TooLarge` like `add`."""
        if not self._pages:
            return Manifest(self._chunking, self.size, self._count, entries=tuple(self._open)), None
        last = self._close_page()
        return Manifest(self._chunking, self.size, self._count, pages=tuple(self._pages)), last

    def _close_page(self) -> tuple[int, bytes, Sequence[ChunkRef]]:
        if len(self._pages) == PAGES_MAX:
            raise TooLarge(f"an object has at most {PAGES_MAX * PAGE_ENTRIES} chunks")
        entries, self._open = self._open, []
        encoded = encode_page(entries)
        length = sum(ref.length for ref in entries)
        self._pages.append(PageRef(Digest(hashlib.sha256(encoded).digest()), length))
        return len(self._pages) - 1, encoded, entries


@lru_cache(maxsize=64)
def _chunking(low: int, average: int, high: int) -> Chunking:
    try:
        return Chunking(chunk_bytes_min=low, chunk_bytes_avg=average, chunk_bytes_max=high)
    except InvalidRequest as error:
        raise Corrupt("a manifest with impossible chunking parameters") from error


def _decode_entries(body: memoryview) -> tuple[ChunkRef, ...]:
    _require(len(body) % _ENTRY.size == 0, "length of the entries")
    _require(len(body) <= PAGE_ENTRIES * _ENTRY.size, "number of entries")
    entries = tuple(ChunkRef(Digest(raw), length) for raw, length in _ENTRY.iter_unpack(body))
    _require(all(ref.length > 0 for ref in entries), "chunk lengths")
    return entries


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Corrupt(f"a manifest does not agree with itself: {what}")
