"""What a catalog made anew is filled with, in which order; see `rebuild`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from replicator.data_plane.ports import Bucket, Version, Versioning
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.catalog import Catalog
from replicator.data_plane.storage.committer import Counters
from replicator.data_plane.storage.entries import (
    BucketEntry,
    ManifestEntry,
    PageEntry,
    VersionEntry,
    drop_record_bytes,
)
from replicator.data_plane.storage.findings import Finding, OnFinding, about_version, damaged_region
from replicator.data_plane.storage.gather import Gathered, TrueEntry
from replicator.data_plane.storage.index import Index
from replicator.data_plane.storage.record import KIND_CHUNK, KIND_COMMIT, SEGMENT_HEADER_BYTES
from replicator.data_plane.storage.recovery import is_empty
from replicator.data_plane.storage.rows import Location, Place
from replicator.data_plane.storage.segment import Segments
from replicator.data_plane.storage.walk import Hole, walk
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt
from replicator.kernel.manifest import ChunkRef, Manifest, decode_manifest, decode_page
from replicator.kernel.names import DEFAULT_BUCKET, BucketName
from replicator.kernel.version import VersionClock

_OPERATIONS_PER_BATCH = 8192


@dataclass(slots=True)
class Rebuilt:
    """What a rebuilding came to.

    Attributes:
        bytes: of segments that were read.
        uncommitted_bytes: at the end of the log, that were never acknowledged.
        lost: versions that did not come back.
        former: the folder that now holds the catalog that was there.
        compared: whether that could be read to the end, and so tells what was lost with missing segments.
    """

    segments: int = 0
    records: int = 0
    bytes: int = 0
    buckets: int = 0
    versions: int = 0
    lost: int = 0
    damaged_regions: int = 0
    uncommitted_bytes: int = 0
    former: str | None = None
    compared: bool = False


class Refill:
    """Puts into an empty catalog what the segments hold.

    Args:
        scratch: an empty catalog, of no use afterwards.
    """

    def __init__(self, segments: Segments, scratch: Catalog, catalog: Catalog, on_finding: OnFinding) -> None:
        self.done = Rebuilt()
        self._segments = segments
        self._catalog = catalog
        self._on_finding = on_finding
        self._counters = Counters(VersionClock("", 0), 0, 0)
        self._gathered = Gathered(scratch, catalog, self._counters)
        self._accounts = Accounts()
        self._index = self._new_index()
        self._ends: dict[int, int] = {}
        self._hole: Place | None = None

    def run(self, store_id: bytes) -> None:
        """Read every segment, then fill the catalog, durably."""
        for number in self._segments.numbers:
            if not is_empty(self._segments, number):
                self._gather(number)
        self._gathered.flush()
        self._put_damaged_chunks()
        for found in self._gathered.all("buckets"):
            self._index.apply(*found)
            self.done.buckets += 1
        self._put_versions()
        self._put_accounts()
        self._index.batch.put("meta", rows.STORE_KEY, rows.encode_store_row(store_id))
        self._counters.put_row(self._index.batch)
        self._flush()
        self._catalog.sync()

    def knows_end_of(self, version_key: bytes) -> bool:
        """Whether the log tells of the version in any way; where it did not come back, that is told already."""
        return self._gathered.find("versions", version_key) is not None

    def _gather(self, number: int) -> None:
        length = self._segments.length(number)
        end = settled_end(self._segments, number) if number == self._segments.active else length
        self.done.uncommitted_bytes += length - end
        self._ends[number] = end
        for found in walk(self._segments.reader(number), number, SEGMENT_HEADER_BYTES, end):
            if isinstance(found, Hole):
                self._hole = self._hole or found.place
                self._gathered.add_hole(found)
                self.done.damaged_regions += 1
                self._on_finding(damaged_region(found))
            else:
                self._gathered.add(found)
        self.done.segments += 1
        self.done.bytes += end
        self.done.records = self._gathered.records

    def _put_damaged_chunks(self) -> None:
        for digest, location in self._gathered.damaged_chunks():
            self._index.batch.put("chunks", digest, rows.encode_location(location))
            self._index.batch.put("meta", rows.damaged_key(digest), b"")
            self._on_finding(
                Finding("damaged-chunk", f"no whole copy is left of chunk {digest}", {"digest": str(digest)})
            )
            self._flush_if_full()
        self._flush()

    def _put_versions(self) -> None:
        null_of: tuple[BucketName, str] | None = None
        for entry, place in self._gathered.all("versions"):
            if not isinstance(entry, VersionEntry):
                continue
            version = entry.version
            name = (version.bucket, version.object_id)
            if version.null and null_of == name:
                self._on_finding(
                    about_version("replaced", version, "was replaced; the record of that is lost")
                )
                continue
            missing = self._bring(version.manifest) if isinstance(version, Version) else None
            if missing is not None:
                self.done.lost += 1
                self._on_finding(about_version("lost-version", version, f"is lost: {missing}"))
                continue
            null_of = name if version.null else null_of
            self._require_bucket(version.bucket, place)
            self._index.apply(entry, place)
            self.done.versions += 1
            self._flush_if_full()
        self._flush()

    def _bring(self, digest: Digest) -> str | None:
        """Put a manifest with its pages into the catalog; says what is missing where that cannot be."""
        if self._index.manifest(digest) is not None:
            return None
        found = self._gathered.find("manifests", digest)
        if found is None or not isinstance(found.entry, ManifestEntry):
            return "its manifest is missing"
        manifest = decode_manifest(found.entry.encoded, digest)
        missing = self._missing_of(manifest, found.entry.number)
        if missing is not None:
            return missing
        for index in range(manifest.page_count):
            page = self._page(found.entry.number, index)
            assert page is not None
            self._index.apply(*page)
            self._flush_if_full()
        self._index.apply(found.entry, found.place, manifest)
        return None

    def _missing_of(self, manifest: Manifest, number: int) -> str | None:
        missing = self._missing_chunk(manifest.entries)
        for index in range(manifest.page_count):
            if missing is not None:
                break
            page = self._page(number, index)
            if page is None or not isinstance(page.entry, PageEntry):
                return f"page {index} of its manifest is missing"
            try:
                missing = self._missing_chunk(decode_page(page.entry.encoded, manifest, index))
            except Corrupt as error:
                return error.message
        return missing

    def _page(self, number: int, index: int) -> TrueEntry | None:
        return self._gathered.find("pages", rows.page_key(number, index))

    def _missing_chunk(self, refs: Iterable[ChunkRef]) -> str | None:
        digests = list({ref.digest: None for ref in refs})
        known = self._catalog.get_many("chunks", digests)
        return next(
            (f"chunk {digest} is missing" for digest, row in zip(digests, known, strict=True) if row is None),
            None,
        )

    def _require_bucket(self, name: BucketName, place: Place) -> None:
        """A bucket whose record is lost comes back in the state in which nothing in it is replaced."""
        row = self._index.bucket(name)
        if name == DEFAULT_BUCKET or (row is not None and not row.removed):
            return
        self._on_finding(
            Finding(
                "lost-bucket",
                f"the record of bucket '{name}' is lost; it is made again, with versioning on",
                {"bucket": str(name)},
            )
        )
        bucket = Bucket(name, Versioning.ON, 0)
        self._index.apply(BucketEntry(0, bucket, removed=False), self._hole or place)
        self.done.buckets += 1

    def _put_accounts(self) -> None:
        accounts = self._index.accounts
        for number, end in self._ends.items():
            accounts.absorb(number, end)
        for entry, place in self._gathered.drops():
            if entry.segment in self._ends:
                accounts.add_drop(entry.segment, place.segment, drop_record_bytes(entry))
        for number in self._gathered.copied:
            self._index.batch.put("meta", rows.copied_key(number), b"")

    def _new_index(self) -> Index:
        return Index(self._catalog, self._accounts, _Located(self._catalog), now_ms=0)

    def _flush_if_full(self) -> None:
        if len(self._index.batch.operations) >= _OPERATIONS_PER_BATCH:
            self._flush()

    def _flush(self) -> None:
        self._index.accounts.put_rows(self._index.batch)
        self._catalog.write(self._index.batch)
        self._index.accounts.apply()
        self._index = self._new_index()


class _Located:
    """`ChunkView` of a catalog that has all chunks already."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def look(self, digests: Sequence[Digest]) -> dict[Digest, Location | None]:
        found = self._catalog.get_many("chunks", digests)
        return {
            digest: None if row is None else rows.decode_location(row)
            for digest, row in zip(digests, found, strict=True)
        }

    def is_fresh(self, _: Digest) -> bool:
        return False

    def set_referenced(self, digests: Iterable[Digest]) -> None:
        pass


def settled_end(segments: Segments, number: int) -> int:
    """Where what counts of the last segment ends: behind its last commit mark, and the chunks that follow it."""
    settled, is_open = SEGMENT_HEADER_BYTES, False
    for found in walk(segments.reader(number), number, settled, segments.length(number)):
        if isinstance(found, Hole):
            is_open = True
        elif found.header.kind == KIND_COMMIT:
            settled, is_open = found.end, False
        elif found.header.kind != KIND_CHUNK:
            is_open = True
        elif not is_open:
            settled = found.end
    return settled
