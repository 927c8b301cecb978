"""Reading a segment from one end to the other, past whatever is damaged.

A record that is not whole begins a *hole*. Behind it the walk goes on at the next record that is whole. If the
damaged header still gives a length, and a whole record or the end follows there, that is the next one: so
what a chunk holds is not taken for records, be it a copy of a segment. Only where the length is lost as well is
every byte tried, and then a record inside the lost one cannot be told from one behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from replicator.data_plane.storage.record import (
    KIND_CHUNK,
    RECORD_BYTES_MAX,
    RECORD_HEADER_BYTES,
    RECORD_MAGIC,
    RecordHeader,
    check_record,
    decode_record_header,
)
from replicator.data_plane.storage.rows import Location, Place
from replicator.kernel.errors import Corrupt

if TYPE_CHECKING:
    from typing_extensions import Buffer

BLOCK_BYTES = 1024 * 1024
_PAGE_BYTES = 4096

ReadAt = Callable[[int, int], "Buffer"]
"""(offset, length) to at most so many bytes of the segment; `OSError` where the disk does not give them."""


class Record(NamedTuple):
    """A record that is whole; `payload` and `head`, the bytes of its header, are as stored.

    Both are valid for as long as they are kept, and keep a block in memory.
    """

    header: RecordHeader
    place: Place
    payload: memoryview
    head: memoryview

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.place.offset + RECORD_HEADER_BYTES + self.header.stored_length

    @property
    def location(self) -> Location:
        """Of a chunk's record, what the catalog keeps of it."""
        return _location(self.header, self.place)


class Hole(NamedTuple):
    """Bytes that are no whole record, from `place` up to the offset `end`.

    Attributes:
        claim: what the header at `place` says it is, where it still reads as one; it may be wrong.
    """

    place: Place
    end: int
    claim: RecordHeader | None

    @property
    def claimed_chunk(self) -> Location | None:
        """Where the chunk would be that was here, as far as its header can be believed."""
        claim = self.claim
        if claim is None or claim.kind != KIND_CHUNK or self._claimed_end > self.end:
            return None
        return _location(claim, self.place)

    @property
    def is_one_chunk(self) -> bool:
        """Whether the hole is that one chunk and nothing else."""
        return self.claimed_chunk is not None and self._claimed_end == self.end

    @property
    def _claimed_end(self) -> int:
        length = 0 if self.claim is None else self.claim.stored_length
        return self.place.offset + RECORD_HEADER_BYTES + length


def walk(read: ReadAt, number: int, start: int, end: int) -> Iterator[Record | Hole]:
    """All of segment `number` from `start` up to `end`, in order and without a gap.

    Memory: a block, or the largest record.
    """
    window = _Window(read, end)
    at = start
    while at < end:
        found: Record | Hole | None = _record_at(window, number, at)
        if found is None:
            found = _hole_at(window, number, at)
        yield found
        at = found.end


def _hole_at(window: _Window, number: int, at: int) -> Hole:
    claim = _header_at(window, at)
    if claim is not None:
        following = at + RECORD_HEADER_BYTES + claim.stored_length
        if following == window.end or _record_at(window, number, following) is not None:
            return Hole(Place(number, at), following, claim)
    return Hole(Place(number, at), _next_record(window, number, at + 1), claim)


def _next_record(window: _Window, number: int, start: int) -> int:
    at = start
    while at < window.end:
        block = bytes(window.view(at, BLOCK_BYTES))
        if not block:
            break
        found = block.find(RECORD_MAGIC)
        while found >= 0:
            if _record_at(window, number, at + found) is not None:
                return at + found
            found = block.find(RECORD_MAGIC, found + 1)
        # A magic may begin in this block and end in the next.
        at += max(1, len(block) - len(RECORD_MAGIC) + 1)
    return window.end


def _header_at(window: _Window, at: int) -> RecordHeader | None:
    head = window.view(at, RECORD_HEADER_BYTES)
    if len(head) < RECORD_HEADER_BYTES:
        return None
    try:
        header = decode_record_header(head)
    except Corrupt:
        return None
    whole = at + RECORD_HEADER_BYTES + header.stored_length <= window.end
    return header if whole and header.stored_length <= RECORD_BYTES_MAX else None


def _record_at(window: _Window, number: int, at: int) -> Record | None:
    header = _header_at(window, at)
    if header is None:
        return None
    whole = window.view(at, RECORD_HEADER_BYTES + header.stored_length)
    head, payload = whole[:RECORD_HEADER_BYTES], whole[RECORD_HEADER_BYTES:]
    try:
        check_record(head, payload, header.digest)
    except Corrupt:
        return None
    return Record(header, Place(number, at), payload, head)


def _location(header: RecordHeader, place: Place) -> Location:
    return Location(*place, header.stored_length, header.raw_length, header.codec)


class _Window:
    """The part of a segment that is in memory; reading on moves it."""

    def __init__(self, read: ReadAt, end: int) -> None:
        self.end = end
        self._read = read
        self._at = 0
        self._data = memoryview(b"")

    def view(self, at: int, length: int) -> memoryview:
        """`length` bytes from `at` on, fewer at the end."""
        length = min(length, self.end - at)
        start = at - self._at
        if start < 0 or start + length > len(self._data):
            self._at, start = at, 0
            self._data = memoryview(self._load(at, min(max(length, BLOCK_BYTES), self.end - at)))
        return self._data[start : start + length]

    def _load(self, at: int, length: int) -> Buffer:
        try:
            return self._read(at, length)
        except OSError:
            # What can be read of it counts, and the rest is as good as zeros.
            pages = range(at, at + length, _PAGE_BYTES)
            return b"".join(self._page(page, min(_PAGE_BYTES, at + length - page)) for page in pages)

    def _page(self, at: int, length: int) -> bytes:
        try:
            return bytes(self._read(at, length))
        except OSError:
            return bytes(length)
