"""Opening a store: bring the catalog up to the end of the log, or refuse and say what is wrong.

The catalog knows how much of each segment it has absorbed. Behind that mark lies what was appended and not
committed when the process died, and after a power cut also what was committed and acknowledged: the log is
synced with every group, the catalog is not. So the log is read on from the mark. Whole chunks there become
known chunks, so an upload or pull that is tried again does not bring them twice. Other entries count where the
mark of their commit follows; the rest were never acknowledged. From the first record that is not whole the file
is cut off.

A segment that is missing, or shorter than its mark, means that acknowledged bytes are gone; one that begins
with another header than its own is not the one the catalog means. In both cases the store does not open, and
every file stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from replicator.data_plane.storage import files, rows
from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.catalog import Batch, Catalog
from replicator.data_plane.storage.committer import Counters
from replicator.data_plane.storage.entries import CommitEntry, Entry, decode_entry
from replicator.data_plane.storage.index import Index
from replicator.data_plane.storage.record import (
    KIND_CHUNK,
    KIND_COMMIT,
    RECORD_BYTES_MAX,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    STORE_ID_BYTES,
    RecordHeader,
    check_record,
    decode_record_header,
)
from replicator.data_plane.storage.rows import Location, Place
from replicator.data_plane.storage.segment import Segments
from replicator.data_plane.storage.walk import Hole, Record, walk
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt

_LSN_AHEAD_MAX = 1 << 24
_RECORDS_PER_BATCH = 4096


@dataclass(slots=True)
class Recovered:
    """What opening found behind the marks."""

    chunks: int = 0
    entries: int = 0
    bytes_cut: int = 0


def open_store_id(folder: str, catalog: Catalog) -> tuple[int, bytes]:
    """(format, id) of the store, made at its first opening.

    Raises:
        Corrupt: the catalog is empty although there are segments.
    """
    known = catalog.get("meta", rows.STORE_KEY)
    if known is not None:
        return rows.decode_store_row(known)
    if os.listdir(folder):
        raise _catalog_lost(folder)
    store_id = os.urandom(STORE_ID_BYTES)
    batch = Batch()
    batch.put("meta", rows.STORE_KEY, rows.encode_store_row(store_id))
    catalog.write(batch)
    catalog.sync()
    return rows.STORE_FORMAT, store_id


def recover(
    segments: Segments,
    catalog: Catalog,
    accounts: Accounts,
    counters: Counters,
    *,
    now_ms: int,
    takes_entries: bool = True,
) -> Recovered:
    """Bring the catalog up to the end of the log.

    Args:
        takes_entries: False cuts entries off: they are of a migration that did not end.

    Raises:
        Corrupt: they cannot be brought together; no acknowledged byte was changed.
    """
    finish_removals(segments, catalog)
    _require_durable(segments, accounts.absorbed)
    found = Recovered()
    for number in segments.numbers:
        absorbed = accounts.absorbed.get(number, 0)
        if not absorbed and number == segments.active and is_empty(segments, number):
            found.bytes_cut += segments.length(number)
            segments.remove(number)
        elif segments.length(number) > absorbed:
            replay = Replay(segments, catalog, accounts, counters, now_ms=now_ms, takes_entries=takes_entries)
            end = replay.run(number, max(absorbed, SEGMENT_HEADER_BYTES), found)
            if end < segments.length(number):
                _require_torn(segments, number, end, counters)
            found.bytes_cut += segments.length(number) - end
            segments.truncate(number, end)
    if found.chunks or found.entries:
        catalog.sync()
    return found


def finish_removals(segments: Segments, catalog: Catalog) -> None:
    """Delete the segments that compaction has emptied and did not live to delete."""
    batch = Batch()
    for key, _ in catalog.scan("meta", rows.REMOVED_PREFIX):
        if segments.holds(number := rows.removed_segment(key)):
            segments.remove(number)
        batch.delete("meta", key)
    if batch.operations:
        catalog.write(batch)


class Replay:
    """Reads a segment on from a mark, and puts what it says into the catalog. Also its own view of chunks."""

    def __init__(
        self,
        segments: Segments,
        catalog: Catalog,
        accounts: Accounts,
        counters: Counters,
        *,
        now_ms: int,
        takes_entries: bool = True,
    ) -> None:
        self._segments = segments
        self._catalog = catalog
        self._accounts = accounts
        self._counters = counters
        self._now_ms = now_ms
        self._takes_entries = takes_entries
        self._chunks: dict[Digest, Location] = {}
        self._entries: list[tuple[Entry, Place]] = []

    def run(self, number: int, start: int, found: Recovered) -> int:
        """Take in segment `number` from `start` on; returns where what counts of it ends."""
        settled = start
        waiting: list[tuple[Entry, Place]] = []
        arrived: dict[Digest, Location] = {}
        for header, place, payload in whole_records(self._segments, number, start):
            end = place.offset + RECORD_HEADER_BYTES + header.stored_length
            if header.kind == KIND_CHUNK:
                arrived[header.digest] = Location(
                    *place, header.stored_length, header.raw_length, header.codec
                )
            elif not self._takes_entries:
                break
            else:
                waiting.append((decode_entry(header.kind, payload), place))
                if isinstance(waiting[-1][0], CommitEntry):
                    self._entries += waiting
                    waiting = []
            if not waiting:
                # A chunk behind an entry that may not count is taken in with it, or cut off with it.
                self._chunks |= arrived
                arrived = {}
                settled = end
                if len(self._chunks) + len(self._entries) >= _RECORDS_PER_BATCH:
                    self._write(number, (start, settled), found)
                    start = settled
        self._write(number, (start, settled), found)
        return settled

    def look(self, digests: Sequence[Digest]) -> dict[Digest, Location | None]:
        """See `ChunkView.look`."""
        known = self._catalog.get_many("chunks", digests)
        return {
            digest: self._chunks.get(digest) or (rows.decode_location(row) if row is not None else None)
            for digest, row in zip(digests, known, strict=True)
        }

    def is_fresh(self, _: Digest) -> bool:
        """See `ChunkView.is_fresh`."""
        return False

    def set_referenced(self, digests: Iterable[Digest]) -> None:
        """See `ChunkView.set_referenced`."""

    def _write(self, number: int, span: tuple[int, int], found: Recovered) -> None:
        if not self._chunks and not self._entries:
            return
        self._segments.rewrite(number, *span)
        index = Index(self._catalog, self._accounts, self, now_ms=self._now_ms)
        for entry, place in self._entries:
            index.apply(entry, place, copied=entry.lsn <= self._counters.lsn)
            self._counters.see(entry)
        known = self._catalog.get_many("chunks", list(self._chunks))
        index.put_chunks(self._chunks, self._chunks)
        for digest in self._chunks:
            index.batch.delete("meta", rows.damaged_key(digest))
        index.accounts.absorb(number, span[1])
        index.accounts.put_rows(index.batch)
        self._counters.put_row(index.batch)
        self._catalog.write(index.batch)
        index.accounts.apply()
        found.chunks += sum(row is None for row in known)
        found.entries += sum(not isinstance(entry, CommitEntry) for entry, _ in self._entries)
        self._chunks, self._entries = {}, []


def whole_records(
    segments: Segments, number: int, offset: int
) -> Iterator[tuple[RecordHeader, Place, bytes]]:
    """The records of a segment from `offset` on, up to the first that is not whole."""
    while True:
        head = segments.read_raw(number, offset, RECORD_HEADER_BYTES)
        if len(head) < RECORD_HEADER_BYTES:
            return
        try:
            header = decode_record_header(head)
            if header.stored_length > RECORD_BYTES_MAX:
                return
            payload = segments.read_raw(number, offset + RECORD_HEADER_BYTES, header.stored_length)
            check_record(memoryview(head), payload, header.digest)
        except Corrupt:
            return
        yield header, Place(number, offset), b"" if header.kind == KIND_CHUNK else bytes(payload)
        offset += RECORD_HEADER_BYTES + header.stored_length


def _require_durable(segments: Segments, absorbed: dict[int, int]) -> None:
    present = set(segments.numbers)
    for number, mark in absorbed.items():
        if number not in present:
            raise Corrupt(f"segment {number} is missing; the store does not open without it", segment=number)
        if (length := segments.length(number)) < mark:
            raise Corrupt(
                f"segment {number} has {length} bytes, but {mark} were acknowledged; "
                "the store does not open: restore the file",
                segment=number,
            )
    for number in present:
        if absorbed.get(number) or number != segments.active or not is_empty(segments, number):
            segments.check_header(number)


def is_empty(segments: Segments, number: int) -> bool:
    """Whether the machine died before the header of a segment was on disk, and nothing was written behind it."""
    if not segments.is_blank(number):
        return False
    found = walk(segments.reader(number), number, SEGMENT_HEADER_BYTES, segments.length(number))
    return all(isinstance(each, Hole) for each in found)


def _require_torn(segments: Segments, number: int, end: int, counters: Counters) -> None:
    """Raises `Corrupt` unless what lies behind `end` can be what a crash left of the last group.

    A group is synced before the next is appended, and a segment before the next is begun. So a torn group may
    have its commit mark on disk and not its beginning, but nothing of a later group is behind it. The lsn tells
    entries of this log from those that somebody's object happens to hold.
    """
    is_damaged = number != segments.active
    has_ended = False
    for found in walk(segments.reader(number), number, end, segments.length(number)):
        if is_damaged:
            break
        if isinstance(found, Record) and found.header.kind != KIND_CHUNK:
            entry = decode_entry(found.header.kind, bytes(found.payload))
            if 0 < entry.lsn - counters.lsn <= _LSN_AHEAD_MAX:
                is_damaged = has_ended
                has_ended |= found.header.kind == KIND_COMMIT
    if is_damaged:
        raise Corrupt(
            f"segment {number} is damaged at byte {end}, and what was acknowledged behind it is not in the "
            "catalog; the store does not open: restore it from a backup, or save what is whole by replicator "
            "store rebuild-catalog --data-dir DIR",
            segment=number,
        )


def make_folders(path: str) -> tuple[str, str]:
    """(segments, catalog): the folders inside the data folder, made durably where they are missing.

    Raises:
        Corrupt: there are segments, but no catalog.
    """
    segments, catalog = os.path.join(path, "segments"), os.path.join(path, "catalog")
    if os.path.isdir(segments) and os.listdir(segments) and not os.path.isdir(catalog):
        raise _catalog_lost(segments)
    for folder in (segments, catalog):
        files.make_folder(folder)
    # A process that died may have made names here that it did not live to sync.
    for folder in (path, segments):
        files.sync_folder(folder)
    return segments, catalog


def _catalog_lost(folder: str) -> Corrupt:
    return Corrupt(
        f"there are segments in '{folder}' but the catalog knows nothing of them; nothing was changed. "
        f"Make it anew from them: replicator store rebuild-catalog --data-dir {os.path.dirname(folder)}"
    )
