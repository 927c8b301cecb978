"""Compaction: what is alive in the emptiest segments is copied to the end of the log, and they are removed.

A segment is never edited in place. One that is compacted does not grow any more; where it is the active one,
another is begun first. Then, each step durable before the next where it has to be:

1. *Begun.* The mark `copied/<segment>` is written and the catalog synced. From now on the segment may hold
   records that no row names, of versions that were dropped since; see 4. The same commit brings into the catalog
   whatever of the segment was still pending.
2. *Copied.* The segment is walked, every record checked. Requests of bounded size bring what is alive to the end
   of the log byte for byte, and the rows that name the new place follow in the same commit, so whatever became of
   a record while the request waited is seen. The commit syncs the log before it writes the rows. Orphans (chunks
   that nothing refers to and that nobody holds) are forgotten in the same requests.
3. *Emptied.* The accounts are exact: when they say that nothing is alive in the segment but drops, its rows go
   and the mark `removed/<segment>` comes, in one batch, and the catalog is synced. If they say anything else,
   the walk missed something, and the segment is kept.
4. *Removed.* The file is deleted and the folder synced; then the mark goes.

A process may die, and the power fail, between any two instructions:

- Before 3 is durable the segment is there whole, and the catalog names the old or the new place of a record, both
  of which hold it. Copies that were in the log and not in the catalog are replayed: an entry about something
  that is here already changes its place and nothing else (`index`). Copies behind the last commit mark are cut off.
- After 3 is durable nothing names the segment. Opening the store deletes files that are marked as removed before
  it looks at anything else. Without the mark such a file would be taken for one that the catalog has yet
  to read, and everything that was ever deleted from it would come back.
- The catalog after a power cut is one that once was. It cannot be older than 3 once 3 is durable, so it never
  names a file that is gone; and everything that 3 rests on was written before it.

Drops. The drop of a version names the segment with the version's entry, and is needed as long as that segment is
there, for whoever rebuilds the catalog. A copied entry is in two segments until the first is removed, and a drop
that comes meanwhile names the second alone. If compaction ends in between, and the second segment is removed
before the first, the drop is still needed. So while any other segment bears the mark of step 1, every drop is copied.

Damage. A record that fails its check is not copied. The chunk that it was is marked as damaged, the segment is kept,
and the rest of it is compacted all the same. It goes once nothing in it is alive: when good copies of its chunks
have come, and the scrub has written its entries anew from the catalog.

Orphans of a segment that has grown within the time of grace are copied as well: an upload or a pull that was
killed may be tried again, and need not bring them twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from replicator.data_plane.storage import rows
from replicator.data_plane.storage.entries import DropEntry, decode_entry
from replicator.data_plane.storage.moves import CopyRecords, DropsNeeded, DropStrays, RemoveSegment, is_at
from replicator.data_plane.storage.pace import ROWS_PER_PAUSE, Brake
from replicator.data_plane.storage.parts import StoreParts
from replicator.data_plane.storage.record import (
    KIND_CHUNK,
    KIND_COMMIT,
    KIND_DROP,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
)
from replicator.data_plane.storage.requests import SetRow
from replicator.data_plane.storage.room import CATALOG_ROOM_BYTES
from replicator.data_plane.storage.rows import decode_location
from replicator.data_plane.storage.standing import row_of, standing
from replicator.data_plane.storage.walk import Hole, Record, walk
from replicator.data_plane.upkeep import SegmentStats
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt, QuotaExceeded
from replicator.runtime.logging import get_logger

COPY_BYTES_MAX = 1024 * 1024
COPY_RECORDS_MAX = 512
_BLOCK_BYTES = 1024 * 1024
_WALKED_BYTES_MAX = 8 * 1024 * 1024
_STRAYS_PER_REQUEST = 512
# Less than the ballast, so that a disk that somebody else has filled can be emptied.
_FREE_BYTES_MIN = CATALOG_ROOM_BYTES // 2
# A pass that gives back less than this share of what it read was for nothing.
_GAIN_MIN = 0.1

log = get_logger()


@dataclass(slots=True)
class Rewritten:
    """What the compaction of a segment did."""

    bytes_copied: int = 0
    bytes_reclaimed: int = 0
    """Length of the segment; 0 where it had to be kept."""


def dead_bytes(segment: SegmentStats) -> int:
    """Bytes of records in the segment that nothing refers to."""
    return max(0, segment.bytes - SEGMENT_HEADER_BYTES - segment.live_bytes)


def choose(
    segments: Sequence[SegmentStats],
    *,
    space_overhead_max: float,
    begun: Collection[int] = (),
    refused: Collection[int] = (),
    dead_bytes_min: int = 0,
) -> list[SegmentStats]:
    """The segments to compact: those begun and those that never held a record, then the emptiest until little
    enough is dead.

    Args:
        space_overhead_max: dead bytes, as a share of the live ones, that are little enough.
        refused: may not be chosen now.
        dead_bytes_min: so many are little enough in any case.
    """
    first = {each.number for each in segments if each.number in begun or each.bytes <= SEGMENT_HEADER_BYTES}
    chosen = [each for each in segments if each.number in first and each.number not in refused]
    others = [each for each in segments if each.number not in first]
    live = sum(each.live_bytes for each in segments)
    enough = max(space_overhead_max * live, dead_bytes_min)
    dead = sum(dead_bytes(each) for each in others)
    for each in sorted(others, key=_emptiness, reverse=True):
        if dead <= enough:
            break
        if each.number not in refused and dead_bytes(each) > space_overhead_max * each.live_bytes:
            chosen.append(each)
            dead -= dead_bytes(each)
    return chosen


class Compactor:
    """Compacts the segments of one store, one at a time; not thread-safe."""

    def __init__(self, parts: StoreParts, *, space_overhead_max: float) -> None:
        self._parts = parts
        self._space_overhead_max = space_overhead_max
        self._kept: dict[int, int] = {}
        """Segments with damage, and how much of each was alive when it was kept."""

    def segments(self) -> list[SegmentStats]:
        """Every segment, oldest first; from any thread."""
        live = self._parts.accounts.live
        lengths = self._parts.segments.lengths()
        return [SegmentStats(number, length, live.get(number, 0)) for number, length in lengths.items()]

    def plan(self, *, grown_before_ms: int | None = None, dead_bytes_min: int = 0) -> list[SegmentStats]:
        """The segments to compact.

        Args:
            grown_before_ms: leave those out that have grown since.
        """
        stats = self.segments()
        refused = {each.number for each in stats if self._kept.get(each.number) == each.live_bytes}
        refused |= self._too_large(stats)
        if self._parts.segments.end.offset <= SEGMENT_HEADER_BYTES:
            refused.add(self._parts.segments.active)
        if grown_before_ms is not None:
            modified = self._parts.segments.modified_ms
            refused |= {each.number for each in stats if modified(each.number) > grown_before_ms}
        return choose(
            stats,
            space_overhead_max=self._space_overhead_max,
            begun=self._begun(),
            refused=refused,
            dead_bytes_min=dead_bytes_min,
        )

    def lacks_room(self) -> bool:
        """Whether a segment would be chosen if the disk had room for what is alive in it."""
        too_large = self._too_large(self.segments())
        stats = [each for each in self.segments() if each.number in too_large]
        return bool(choose(stats, space_overhead_max=self._space_overhead_max))

    def _too_large(self, stats: Sequence[SegmentStats]) -> set[int]:
        room = max(0, self._parts.segments.free_bytes() - _FREE_BYTES_MIN)
        return {each.number for each in stats if each.live_bytes > room}

    def begin(self, chosen: Sequence[SegmentStats]) -> None:
        """Let no chosen segment be the one that copies go to."""
        if self._parts.segments.active in [each.number for each in chosen]:
            self._parts.chunks.roll()

    def compact(self, number: int, *, keep_orphans: bool, brake: Brake) -> Rewritten:
        """Compact a segment that does not grow any more.

        Raises:
            QuotaExceeded: the disk has no room for the copies; what was copied stays, and counts.
            StoreFailed.
        """
        parts, done = self._parts, Rewritten()
        first_copied_to = parts.segments.active
        parts.commit(SetRow(rows.copied_key(number), b"", durable=True))
        end = parts.accounts.absorbed.get(number, SEGMENT_HEADER_BYTES)
        is_whole = _Copying(parts, number, keep_orphans=keep_orphans, brake=brake, done=done).run(end)
        if is_whole or self._may_go(number, brake):
            done.bytes_reclaimed = self._remove(number)
        if done.bytes_reclaimed:
            self._kept.pop(number, None)
            if done.bytes_copied > (1 - _GAIN_MIN) * done.bytes_reclaimed:
                # Drops that only a kept segment still needs, for one: another pass would copy them all again.
                self._keep(range(first_copied_to, parts.segments.active + 1))
        else:
            self._keep([number])
            log.warning("compaction.segment_kept", segment=number, live_bytes=self._kept[number])
        return done

    def _keep(self, numbers: Iterable[int]) -> None:
        """Do not choose those segments as long as what is alive in them stays as it is."""
        for number in numbers:
            self._kept[number] = self._parts.accounts.live.get(number, 0)

    def _remove(self, number: int) -> int:
        """Remove a segment in which nothing is alive; returns its length, 0 where it has to be kept."""
        parts = self._parts
        length = parts.segments.length(number)
        try:
            parts.commit(RemoveSegment(number))
        except Corrupt as error:
            log.error("compaction.not_emptied", segment=number, reason=error.message)
            return 0
        parts.chunks.remove_segment(number)
        parts.commit(SetRow(rows.removed_key(number), None))
        return length

    def _begun(self) -> set[int]:
        return {rows.copied_segment(key) for key, _ in self._parts.catalog.scan("meta", rows.COPIED_PREFIX)}

    def _may_go(self, number: int, brake: Brake) -> bool:
        """Whether nothing is alive in a damaged segment, and no row names it."""
        accounts = self._parts.accounts
        if accounts.live.get(number, 0) != accounts.drops_within(number):
            return False
        left = 0
        strays = self._strays(number, brake)
        while some := list(islice(strays, _STRAYS_PER_REQUEST)):
            request = DropStrays(number, some)
            self._parts.commit(request)
            left += request.left
        return not left

    def _strays(self, number: int, brake: Brake) -> Iterator[Digest]:
        for count, (key, row) in enumerate(self._parts.catalog.scan("chunks", b""), 1):
            if count % ROWS_PER_PAUSE == 0:
                brake.before(0)
            if rows.is_chunk_key(key) and decode_location(row).segment == number:
                yield Digest(key)


class _Copying:
    """Copies what is alive of one segment."""

    def __init__(
        self, parts: StoreParts, number: int, *, keep_orphans: bool, brake: Brake, done: Rewritten
    ) -> None:
        self._parts = parts
        self._number = number
        self._keep_orphans = keep_orphans
        self._brake = brake
        self._done = done
        self._is_whole = True
        self._waiting: list[Record] = []
        """Records that may be alive; they keep the blocks that they were read with in memory."""
        self._walked = 0
        begun = {rows.copied_segment(key) for key, _ in parts.catalog.scan("meta", rows.COPIED_PREFIX)}
        others = frozenset(parts.segments.numbers) - {number}
        self._needed_for = DropsNeeded(others, all=not begun.isdisjoint(others))

    def run(self, end: int) -> bool:
        """Copy up to the offset `end`; says whether every record was whole, and nothing had to stay."""
        records: list[Record] = []
        walked = 0
        for found in walk(self._read, self._number, SEGMENT_HEADER_BYTES, end):
            walked += found.end - found.place.offset
            if isinstance(found, Hole):
                self._report(found)
            elif found.header.kind != KIND_COMMIT:
                records.append(found)
            if walked >= _BLOCK_BYTES or len(records) >= COPY_RECORDS_MAX:
                self._take(records, walked)
                records, walked = [], 0
        self._take(records, walked)
        self._copy()
        return self._is_whole

    def _read(self, offset: int, length: int) -> bytearray:
        return self._parts.segments.read_raw(self._number, offset, length)

    def _take(self, records: Sequence[Record], walked: int) -> None:
        self._brake.before(walked)
        self._walked += walked
        self._waiting += self._named(records)
        if (
            self._waiting_bytes >= COPY_BYTES_MAX
            or len(self._waiting) >= COPY_RECORDS_MAX
            or self._walked >= _WALKED_BYTES_MAX
        ):
            self._copy()

    @property
    def _waiting_bytes(self) -> int:
        return sum(RECORD_HEADER_BYTES + each.header.stored_length for each in self._waiting)

    def _copy(self) -> None:
        records, length = self._waiting, self._waiting_bytes
        self._waiting, self._walked = [], 0
        if not records:
            return
        if self._parts.segments.free_bytes() - length < _FREE_BYTES_MIN:
            raise QuotaExceeded(
                f"segment {self._number} cannot be compacted: the disk of this node has no room for what is "
                "alive in it; free space",
                segment=self._number,
            )
        self._brake.before(length)
        request = CopyRecords(records=records, needed_for=self._needed_for, keep_orphans=self._keep_orphans)
        self._parts.commit(request)
        self._brake.after()
        self._done.bytes_copied += request.bytes_copied
        self._is_whole &= not request.left

    def _named(self, records: Sequence[Record]) -> list[Record]:
        """Without those that the catalog has elsewhere or not at all: that cannot change any more."""
        chunks = [each for each in records if each.header.kind == KIND_CHUNK]
        entries = [each for each in records if each.header.kind != KIND_CHUNK]
        located = self._parts.chunks.look([each.header.digest for each in chunks])
        kept = {each.place for each in chunks if is_at(located[each.header.digest], each.place)}
        named = [(row, each.place) for each in entries if (row := row_of(each)) is not None]
        stands = standing(self._parts.catalog, named)
        kept.update(place for (_, place), is_named in zip(named, stands, strict=True) if is_named)
        kept.update(each.place for each in entries if self._is_needed_drop(each))
        return [each for each in records if each.place in kept]

    def _is_needed_drop(self, record: Record) -> bool:
        if record.header.kind != KIND_DROP:
            return False
        entry = decode_entry(record.header.kind, bytes(record.payload))
        return isinstance(entry, DropEntry) and self._needed_for.includes(entry.segment)

    def _report(self, hole: Hole) -> None:
        self._is_whole = False
        log.error(
            "compaction.damage_found",
            segment=self._number,
            offset=hole.place.offset,
            bytes=hole.end - hole.place.offset,
        )
        location = hole.claimed_chunk
        if location is None or hole.claim is None:
            return
        digest, chunks = hole.claim.digest, self._parts.chunks
        if chunks.mark_damaged(digest, location) and chunks.to_record(digest):
            self._parts.commit(SetRow(rows.damaged_key(digest), rows.encode_damaged_row(wrong=False)))


def _emptiness(segment: SegmentStats) -> float:
    return dead_bytes(segment) / max(1, segment.bytes)
