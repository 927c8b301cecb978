"""Whether the log of a closed store is whole, and holds everything that the catalog names."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.catalog import Catalog, Family
from replicator.data_plane.storage.findings import Finding, OnFinding, damaged_region
from replicator.data_plane.storage.record import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES
from replicator.data_plane.storage.rows import Place
from replicator.data_plane.storage.segment import Segments
from replicator.data_plane.storage.standing import (
    FAMILIES_OF_RECORDS,
    Named,
    named_rows,
    place_in,
    prove,
    row_of,
    standing,
)
from replicator.data_plane.storage.walk import Hole, Record, walk
from replicator.kernel.errors import Corrupt

_RECORDS_PER_LOOK = 1024


class Tally(Protocol):
    """Counts what was read."""

    records: int
    record_bytes: int


class LogCheck:
    """Reads every record that the catalog has absorbed, once, in order.

    What the catalog names is counted against what was found standing; only where the counts differ is each row
    held against its place, to name it.
    """

    def __init__(self, segments: Segments, catalog: Catalog, tell: OnFinding, done: Tally) -> None:
        self._segments = segments
        self._catalog = catalog
        self._tell = tell
        self._done = done
        self._standing: Counter[Family] = Counter()
        self._waiting: list[tuple[Named, Place]] = []

    def run(self) -> None:
        """Tell of all that is wrong."""
        for number, absorbed in sorted(Accounts.load(self._catalog).absorbed.items()):
            if self._segments.holds(number):
                self._check_segment(number, min(absorbed, self._segments.length(number)))
        self._count()
        for family in FAMILIES_OF_RECORDS:
            if sum(1 for _ in named_rows(self._catalog, family)) != self._standing[family]:
                self._name_missing(family)

    def _check_segment(self, number: int, end: int) -> None:
        for found in walk(self._segments.reader(number), number, SEGMENT_HEADER_BYTES, end):
            if isinstance(found, Hole):
                self._tell(damaged_region(found))
                continue
            self._done.records += 1
            self._done.record_bytes += RECORD_HEADER_BYTES + found.header.stored_length
            named = self._check_record(found)
            if named is not None:
                self._waiting.append((named, found.place))
                if len(self._waiting) >= _RECORDS_PER_LOOK:
                    self._count()

    def _check_record(self, record: Record) -> Named | None:
        try:
            prove(record)
            return row_of(record)
        except Corrupt as error:
            segment, offset = record.place
            message = f"the record at byte {offset} of segment {segment} is damaged: {error.message}"
            self._tell(Finding("damaged-record", message, {"segment": segment, "offset": offset}))
            return None

    def _count(self) -> None:
        for (named, _), stands in zip(self._waiting, standing(self._catalog, self._waiting), strict=True):
            self._standing[named[0]] += stands
        self._waiting = []

    def _name_missing(self, family: Family) -> None:
        for key, row in named_rows(self._catalog, family):
            try:
                place = place_in(family, key, row)
            except Corrupt:
                continue  # told of by the check of the catalog
            if not self._is_there((family, key), place):
                segment, offset = place
                what = f"{family[:-1]} {key.hex()}" if family != "versions" else f"version {key[:-17]!r}"
                self._tell(
                    Finding(
                        f"lost-{family[:-1]}",
                        f"{what} is not whole at byte {offset} of segment {segment}, where the catalog has it",
                        {"family": family, "key": key.hex(), "segment": segment, "offset": offset},
                    )
                )

    def _is_there(self, named: Named, place: Place) -> bool:
        segment, offset = place
        if not self._segments.holds(segment):
            return False
        length = self._segments.length(segment)
        found = next(walk(self._segments.reader(segment), segment, offset, length), None)
        try:
            if isinstance(found, Record):
                prove(found)
                return row_of(found) == named
        except Corrupt:
            return False
        return False
