"""What compaction asks of the committer: to copy what is alive in a segment, and to give the segment up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from replicator.data_plane.ports import Added
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.committer import Group
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
from replicator.data_plane.storage.record import KIND_CHUNK, RECORD_HEADER_BYTES
from replicator.data_plane.storage.rows import Location, Place
from replicator.data_plane.storage.walk import Record
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt

_NO_CHUNKS: tuple[tuple[Digest, bytes], ...] = ()


@dataclass(slots=True, kw_only=True)
class CopyRecords:
    """Bring what is alive of some records of a segment to the end of the log, and forget orphans among them.

    Args:
        needed_for: drops about versions in these segments are alive.
        keep_orphans: chunks that nothing refers to are brought along.

    Attributes:
        bytes_copied: of records.
        left: how many damaged chunks stay where they are because something refers to them.
    """

    grows: ClassVar[bool] = False
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS
    records: Sequence[Record]
    needed_for: DropsNeeded
    keep_orphans: bool
    bytes_copied: int = 0
    left: int = 0

    def apply(self, group: Group, _: Added) -> None:
        """Records as they are, and the rows that say where they are now."""
        self.bytes_copied = self.left = 0
        self._copy_chunks(group, [each for each in self.records if each.header.kind == KIND_CHUNK])
        for record in self.records:
            if record.header.kind != KIND_CHUNK:
                entry = decode_entry(record.header.kind, bytes(record.payload))
                if self._stands(group, entry, record.place):
                    group.copy(entry, record.head, record.payload)
                    self._count(record)

    def _copy_chunks(self, group: Group, records: Sequence[Record]) -> None:
        located = group.tail.look([each.header.digest for each in records])
        here = {
            each.header.digest: each for each in records if is_at(located[each.header.digest], each.place)
        }
        damaged = group.tail.damaged_among(here)
        orphans = group.orphans(here)
        useless = [digest for digest in orphans if not self.keep_orphans or digest in damaged]
        gone = set(group.drop_chunks(useless))
        self.left = len(damaged - gone)
        for digest in here.keys() - gone - damaged:
            record = here[digest]
            before = located[digest]
            assert before is not None
            referenced = digest not in orphans
            group.copy_chunk(digest, before, record.head, record.payload, referenced=referenced)
            self._count(record)

    def _count(self, record: Record) -> None:
        self.bytes_copied += RECORD_HEADER_BYTES + record.header.stored_length

    def _stands(self, group: Group, entry: Entry, place: Place) -> bool:
        match entry:
            case ManifestEntry():
                manifest = group.manifest(Digest.of(entry.encoded))
                return manifest is not None and manifest.place == place
            case PageEntry():
                return group.page_place(entry.number, entry.page) == place
            case VersionEntry(_, version):
                found = group.version(version.bucket, version.object_id, version.version)
                return found is not None and found[1] == place
            case BucketEntry(_, bucket):
                row = group.bucket(bucket.name)
                return row is not None and row.place == place
            case DropEntry():
                return self.needed_for.includes(entry.segment)
            case CommitEntry():
                return False


@dataclass(frozen=True, slots=True)
class DropsNeeded:
    """Which drops are needed while a segment is compacted.

    Attributes:
        segments: the others that there are.
        all: one of them holds copies that no row names, which a drop about another segment may have ended.
    """

    segments: frozenset[int]
    all: bool

    def includes(self, about: int) -> bool:
        """Whether a drop about a version in that segment is needed."""
        return self.all or about in self.segments


@dataclass(slots=True)
class DropStrays:
    """Forget those of the chunks that are in a segment and that nothing refers to; `left` counts the others."""

    grows: ClassVar[bool] = False
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS
    segment: int
    digests: Sequence[Digest]
    left: int = 0

    def apply(self, group: Group, _: Added) -> None:
        """Rows: those chunks go."""
        located = group.tail.look(self.digests)
        here = [digest for digest, place in located.items() if place and place.segment == self.segment]
        self.left = len(here) - len(group.drop_chunks(group.orphans(here)))


@dataclass(slots=True)
class RemoveSegment:
    """Nothing is alive in a segment: its rows go, and a mark says that its file is to go as well."""

    grows: ClassVar[bool] = False
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS
    segment: int

    def apply(self, group: Group, _: Added) -> None:
        """Rows: the segment's; durable, because the file cannot come back."""
        if not group.accounts.is_empty(self.segment):
            raise Corrupt(
                f"segment {self.segment} holds more than could be read of it, and is kept",
                segment=self.segment,
            )
        group.accounts.remove(self.segment)
        group.batch.delete("meta", rows.copied_key(self.segment))
        group.batch.put("meta", rows.removed_key(self.segment), b"")
        group.must_sync = True


def is_at(location: Location | None, place: Place) -> bool:
    """Whether the record of a chunk is at `place`."""
    return location is not None and (location.segment, location.offset) == place
