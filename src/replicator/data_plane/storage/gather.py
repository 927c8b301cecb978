"""What a whole log comes to: read once from end to end, the true entry about each thing kept.

Chunks go into the new catalog at once, a later copy in place of an earlier one. Of the entries about the same
thing the one with the greatest lsn is true, and of copies of that one the last: they go into a scratch catalog
under the key of the thing, because no number of them may take memory. A scratch row is `lsn u64 | segment u32
| offset u64 | kind u8 | payload` of the record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import Batch, Catalog, Family
from replicator.data_plane.storage.committer import Counters
from replicator.data_plane.storage.entries import (
    BucketEntry,
    CommitEntry,
    DropEntry,
    Entry,
    ManifestEntry,
    PageEntry,
    VersionEntry,
    decode_entry,
)
from replicator.data_plane.storage.record import KIND_CHUNK, KIND_COMMIT, KIND_DROP, KIND_VERSION
from replicator.data_plane.storage.rows import Location, Place
from replicator.data_plane.storage.walk import Hole, Record
from replicator.kernel.digest import Digest

_RECORDS_PER_BATCH = 4096
_BATCH_BYTES = 16 * 1024 * 1024
_TRUE = struct.Struct(">QIQB")
_Key = tuple[Family, bytes]


class TrueEntry(NamedTuple):
    """An entry that stands, and where its record is."""

    entry: Entry
    place: Place


class Gathered:
    """The true entries of a log.

    Args:
        scratch: empty; holds them.
        catalog: gets the rows of chunks.
        counters: grow past all that the log says.

    Attributes:
        copied: segments that hold versions whose entry was copied elsewhere, or that are damaged: drops of
            such versions are needed for as long as these segments exist.
    """

    def __init__(self, scratch: Catalog, catalog: Catalog, counters: Counters) -> None:
        self.copied: set[int] = set()
        self.records = 0
        self._scratch = scratch
        self._catalog = catalog
        self._counters = counters
        self._chunks: dict[Digest, Location] = {}
        self._waiting: list[tuple[_Key, bytes]] = []
        self._waiting_bytes = 0

    def add(self, record: Record) -> None:
        """Take in the next record of the log; raises `Corrupt` where it is of no known format."""
        self.records += 1
        if record.header.kind == KIND_CHUNK:
            self._chunks[record.header.digest] = record.location
        else:
            self._add_entry(record)
        if (
            len(self._chunks) + len(self._waiting) >= _RECORDS_PER_BATCH
            or self._waiting_bytes >= _BATCH_BYTES
        ):
            self.flush()

    def add_hole(self, hole: Hole) -> None:
        """Take in a damaged region: a chunk that was there stays known, in case there is no other copy."""
        self.copied.add(hole.place.segment)
        claimed = hole.claimed_chunk
        if hole.claim is not None and claimed is not None:
            batch = Batch()
            batch.put("meta", rows.damaged_key(hole.claim.digest), rows.encode_location(claimed))
            self._scratch.write(batch)

    def damaged_chunks(self) -> Iterator[tuple[Digest, Location]]:
        """Chunks of which no copy is whole, and where a damaged one is. After `flush`."""
        for key, row in self._scratch.scan("meta", rows.DAMAGED_PREFIX):
            digest = rows.damaged_digest(key)
            if self._catalog.get("chunks", digest) is None:
                yield digest, rows.decode_location(row)

    def all(self, family: Family) -> Iterator[TrueEntry]:
        """The true entries about the things of a family, in the order of its keys. After `flush`."""
        for _, row in self._scratch.scan(family, b""):
            yield _decode(row)

    def find(self, family: Family, key: bytes) -> TrueEntry | None:
        """The true entry about one thing. After `flush`."""
        row = self._scratch.get(family, key)
        return None if row is None else _decode(row)

    def drops(self) -> Iterator[tuple[DropEntry, Place]]:
        """Every drop, where its last copy is. After `flush`."""
        for _, row in self._scratch.scan("meta", rows.DROPS_PREFIX):
            found = _decode(row)
            assert isinstance(found.entry, DropEntry)
            yield found.entry, found.place

    def flush(self) -> None:
        """Write what waits."""
        batch = Batch()
        for digest, location in self._chunks.items():
            batch.put("chunks", digest, rows.encode_location(location))
        self._catalog.write(batch)
        self._chunks = {}
        self._settle()

    def _add_entry(self, record: Record) -> None:
        entry = decode_entry(record.header.kind, bytes(record.payload))
        self._counters.see(entry)
        if record.header.kind == KIND_COMMIT:
            return
        row = _TRUE.pack(entry.lsn, *record.place, record.header.kind) + record.payload
        self._waiting += [(key, row) for key in _keys(entry)]
        self._waiting_bytes += len(row)

    def _settle(self) -> None:
        """Hold what waits against what is known of the same things."""
        batch = Batch()
        known = self._look([key for key, _ in self._waiting])
        for key, row in self._waiting:
            before = known[key]
            if before is None or _lsn(row) >= _lsn(before):
                known[key] = row
                batch.put(*key, row)
            if before is not None:
                self._note_copy(before, row)
        self._scratch.write(batch)
        self._waiting, self._waiting_bytes = [], 0

    def _look(self, keys: list[_Key]) -> dict[_Key, bytes | None]:
        known: dict[_Key, bytes | None] = {}
        for family in {family for family, _ in keys}:
            some = [key for of, key in keys if of == family]
            found = self._scratch.get_many(family, some)
            known |= {(family, key): row for key, row in zip(some, found, strict=True)}
        return known

    def _note_copy(self, before: bytes, row: bytes) -> None:
        """A version whose entry is in another segment than its last one, which a drop of it names."""
        (lsn, segment, _, kind), other = _TRUE.unpack_from(before), _TRUE.unpack_from(row)
        if kind == other[3] == KIND_VERSION and lsn == other[0]:
            self.copied.add(segment)
        elif kind == KIND_VERSION and other[3] == KIND_DROP:
            self._note_if_elsewhere(segment, row)
        elif kind == KIND_DROP and other[3] == KIND_VERSION and other[0] < lsn:
            self._note_if_elsewhere(other[1], before)

    def _note_if_elsewhere(self, segment: int, drop: bytes) -> None:
        entry = _decode(drop).entry
        if isinstance(entry, DropEntry) and entry.segment != segment:
            self.copied.add(segment)


def _keys(entry: Entry) -> list[_Key]:
    match entry:
        case ManifestEntry():
            return [("manifests", Digest.of(entry.encoded))]
        case PageEntry():
            return [("pages", rows.page_key(entry.number, entry.page))]
        case VersionEntry(_, version):
            return [("versions", rows.version_key(version.bucket, version.object_id, version.version))]
        case DropEntry():
            version_key = rows.version_key(entry.bucket, entry.object_id, entry.version)
            return [("versions", version_key), ("meta", rows.DROPS_PREFIX + rows.encode_number(entry.lsn))]
        case BucketEntry():
            return [("buckets", entry.bucket.name.encode())]
        case CommitEntry():
            return []


def _lsn(row: bytes) -> int:
    return int(_TRUE.unpack_from(row)[0])


def _decode(row: bytes) -> TrueEntry:
    _, segment, offset, kind = _TRUE.unpack_from(row)
    return TrueEntry(decode_entry(kind, row[_TRUE.size :]), Place(segment, offset))
