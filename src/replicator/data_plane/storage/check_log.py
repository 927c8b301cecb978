"""Whether the log of a closed store is whole, and holds everything that the catalog names."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.catalog import Catalog, Family
from replicator.data_plane.storage.entries import DropEntry, decode_entry
from replicator.data_plane.storage.findings import Finding, OnFinding, damaged_region
from replicator.data_plane.storage.record import (
    KIND_COMMIT,
    KIND_DROP,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
)
from replicator.data_plane.storage.rows import Place, decode_version
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
_DAMAGE_MAX = 65_536


class Tally(Protocol):
    """Counts what was read."""

    records: int
    record_bytes: int
    spent_regions: int


class _Damage(NamedTuple):
    """Bytes that are no whole record."""

    start: Place
    end: int
    finding: Finding


class LogCheck:
    """Reads every record that the catalog has absorbed, once, in order.

    What the catalog names is counted against what was found standing; only where the counts differ is each row
    held against its place, to name it. Damage is a finding where the catalog names something in it; where good
    copies have taken the place of all that was there, it is counted and no more.
    """

    def __init__(self, segments: Segments, catalog: Catalog, tell: OnFinding, done: Tally) -> None:
        self._segments = segments
        self._catalog = catalog
        self._tell = tell
        self._done = done
        self._standing: Counter[Family] = Counter()
        self._waiting: list[tuple[Named, Place]] = []
        self._damage: list[_Damage] = []
        self._drops: Counter[int] = Counter()
        self._last_commit = Place(0, 0)
        self._accounts = Accounts.load(catalog)

    def run(self) -> None:
        """Tell of all that is wrong."""
        for number, absorbed in sorted(self._accounts.absorbed.items()):
            if self._segments.holds(number):
                self._check_segment(number, min(absorbed, self._segments.length(number)))
        self._count()
        self._tell_damage()
        for family in FAMILIES_OF_RECORDS:
            if sum(1 for _ in named_rows(self._catalog, family)) != self._standing[family]:
                self._name_missing(family)

    def _check_segment(self, number: int, end: int) -> None:
        for found in walk(self._segments.reader(number), number, SEGMENT_HEADER_BYTES, end):
            if isinstance(found, Hole):
                self._note_damage(_Damage(found.place, found.end, damaged_region(found)))
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
            self._note_unnamed(record)
            return row_of(record)
        except Corrupt as error:
            segment, offset = record.place
            message = f"the record at byte {offset} of segment {segment} is damaged: {error.message}"
            finding = Finding("damaged-record", message, {"segment": segment, "offset": offset})
            self._note_damage(_Damage(record.place, record.end, finding))
            return None

    def _note_unnamed(self, record: Record) -> None:
        if record.header.kind == KIND_COMMIT:
            self._last_commit = record.place
        elif record.header.kind == KIND_DROP:
            entry = decode_entry(KIND_DROP, bytes(record.payload))
            if isinstance(entry, DropEntry) and (entry.segment, record.place.segment) in self._accounts.drops:
                self._drops[record.place.segment] += record.end - record.place.offset

    def _note_damage(self, damage: _Damage) -> None:
        if len(self._damage) < _DAMAGE_MAX:
            self._damage.append(damage)
        else:
            self._tell(damage.finding)

    def _tell_damage(self) -> None:
        """Damage is told of where something in use lies in it, or may: no row names drops and commit marks."""
        if not self._damage:
            return
        used = self._used_damage()
        for start, _, finding in self._damage:
            may_hold_drop = self._drops[start.segment] < self._accounts.drops_within(start.segment)
            if start in used or may_hold_drop or start > self._last_commit:
                self._tell(finding)
            else:
                self._done.spent_regions += 1

    def _used_damage(self) -> set[Place]:
        """Where the damage begins in which the catalog names something."""
        starts: defaultdict[int, list[int]] = defaultdict(list)
        for damage in self._damage:
            starts[damage.start.segment].append(damage.start.offset)
        ends = {damage.start: damage.end for damage in self._damage}
        used = set()
        for segment, offset in self._named_places():
            if at := bisect_right(starts.get(segment, ()), offset):
                start = Place(segment, starts[segment][at - 1])
                if offset < ends[start]:
                    used.add(start)
        return used

    def _named_places(self) -> Iterator[Place]:
        for family in FAMILIES_OF_RECORDS:
            for key, row in named_rows(self._catalog, family):
                with contextlib.suppress(Corrupt):  # told of by the check of the catalog
                    yield place_in(family, key, row)

    def _count(self) -> None:
        for (named, _), stands in zip(self._waiting, standing(self._catalog, self._waiting), strict=True):
            self._standing[named[0]] += stands
        self._waiting = []

    def _name_missing(self, family: Family) -> None:
        for key, row in named_rows(self._catalog, family):
            try:
                place, what = place_in(family, key, row), _what(family, key, row)
            except Corrupt:
                continue  # told of by the check of the catalog
            if not self._is_there((family, key), place):
                segment, offset = place
                self._tell(
                    Finding(
                        f"lost-{family[:-1]}",
                        f"{what} is not whole at byte {offset} of segment {segment}, where "
                        "the catalog has it",
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


def _what(family: Family, key: bytes, row: bytes) -> str:
    if family == "versions":
        version = decode_version(key, row)
        return f"version {version.version} of '{version.object_id}' in bucket '{version.bucket}'"
    return f"{family[:-1]} {key.decode() if family == 'buckets' else key.hex()}"
