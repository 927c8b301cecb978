"""The scrub of one segment: see `scrub`."""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol

from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import Family
from replicator.data_plane.storage.pace import ROWS_PER_PAUSE, Interrupted, Pace
from replicator.data_plane.storage.parts import StoreParts
from replicator.data_plane.storage.record import KIND_CHUNK
from replicator.data_plane.storage.relog import Relog
from replicator.data_plane.storage.requests import SetRow
from replicator.data_plane.storage.rows import Location, Place
from replicator.data_plane.storage.segment import SegmentGone
from replicator.data_plane.storage.standing import FAMILIES_OF_RECORDS, Named, named_rows, place_in, prove
from replicator.data_plane.storage.walk import Hole, Record, walk
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt

_HOLES_MAX = 4096


class ScrubWatch(Protocol):
    """Hears how the scrub of a segment goes."""

    def reached(self, number: int, offset: int, length: int, *, settled: bool) -> None:
        """It has come to `offset`, `length` bytes further; `settled` where it may go on from there."""
        ...

    def read(self, length: int) -> None:
        """So many bytes came from the disk."""
        ...

    def found(self, named: Named, place: Place, *, healed: bool) -> None:
        """A living record is damaged."""
        ...


class SegmentScrub:
    """Reads one segment and deals with what is damaged and alive in it.

    What cannot be told from the damage itself is searched for in the catalog, once for all damage of the segment,
    because that takes as long as the catalog is large.
    """

    def __init__(self, watch: ScrubWatch, parts: StoreParts, number: int, pace: Pace) -> None:
        self._watch = watch
        self._parts = parts
        self._number = number
        self._pace = pace
        self._read_raw = parts.segments.reader(number)
        self._holes: list[tuple[int, int]] = []

    def run(self, start: int, end: int) -> None:
        """From one offset to another.

        Raises:
            Interrupted: it is to end; where there is damage that was not dealt with, it was reached at most.
        """
        try:
            for found in walk(self._read, self._number, start, end):
                self._look_at(found)
                self._watch.reached(
                    self._number, found.end, found.end - found.place.offset, settled=not self._holes
                )
                if len(self._holes) >= _HOLES_MAX:
                    self._search()
            self._search()
        except SegmentGone:
            # Compaction has moved what was alive in it to segments that are still ahead.
            return
        except Interrupted:
            if self._holes:
                self._watch.reached(self._number, self._holes[0][0], 0, settled=True)
            raise

    def _read(self, offset: int, length: int) -> bytearray:
        self._pace.take(length)
        segments = self._parts.segments
        segments.forget_cached(self._number, offset, length)
        data = self._read_raw(offset, length)
        segments.forget_cached(self._number, offset, length)
        self._watch.read(len(data))
        return data

    def _look_at(self, found: Record | Hole) -> None:
        if isinstance(found, Hole):
            claim, location = found.claim, found.claimed_chunk
            known = claim is not None and location is not None and found.is_one_chunk
            if not known or not self._quarantine(claim.digest, location, wrong=False):  # type: ignore[union-attr, arg-type]
                self._holes.append((found.place.offset, found.end))
            return
        try:
            prove(found)
        except Corrupt:
            if found.header.kind == KIND_CHUNK:
                self._quarantine(found.header.digest, found.location, wrong=True)
            else:
                self._holes.append((found.place.offset, found.end))

    def _quarantine(self, digest: Digest, location: Location, *, wrong: bool) -> bool:
        """Let reads of a chunk fail if it is there that the catalog has it; says whether."""
        chunks = self._parts.chunks
        if not chunks.mark_damaged(digest, location, wrong=wrong):
            return False
        chunks.to_record(digest)
        row = rows.encode_damaged_row(wrong=wrong)
        self._parts.commit(SetRow(rows.damaged_key(digest), row, durable=True))
        self._watch.found(("chunks", digest), Place(*location[:2]), healed=False)
        return True

    def _search(self) -> None:
        """Deal with every row that names a place in one of the holes."""
        if not self._holes:
            return
        for family in FAMILIES_OF_RECORDS:
            for count, (key, row) in enumerate(named_rows(self._parts.catalog, family), 1):
                if count % ROWS_PER_PAUSE == 0:
                    self._pace.pause()
                place = place_in(family, key, row)
                if place.segment == self._number and self._is_in_hole(place.offset):
                    self._deal(family, key, row, place)
        self._holes = []

    def _is_in_hole(self, offset: int) -> bool:
        index = bisect_right(self._holes, (offset, 1 << 63)) - 1
        return index >= 0 and offset < self._holes[index][1]

    def _deal(self, family: Family, key: bytes, row: bytes, place: Place) -> None:
        if family == "chunks":
            self._quarantine(Digest(key), rows.decode_location(row), wrong=False)
            return
        request = Relog((family, key), place)
        self._parts.commit(request)
        self._watch.found((family, key), place, healed=request.done)
