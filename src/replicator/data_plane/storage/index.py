"""What the entries of the log come to: the rows that one group of them changes in the catalog.

Commits, recovery and the rebuilding of a catalog all go through here, so they cannot differ. An `Index` sees
the catalog as it will be behind the entries it was given, gathers the rows, and keeps the accounts.

An entry about something that is here already is a copy that compaction made: the thing has another place from
then on, and nothing else changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from replicator.data_plane.ports import DeleteMarker, Version
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.catalog import Batch, Catalog, Family
from replicator.data_plane.storage.entries import (
    BucketEntry,
    CommitEntry,
    DropEntry,
    Entry,
    ManifestEntry,
    PageEntry,
    VersionEntry,
    bucket_record_bytes,
    drop_record_bytes,
    manifest_record_bytes,
    page_record_bytes,
    version_record_bytes,
)
from replicator.data_plane.storage.rows import BucketRow, Location, ManifestRow, PageRow, Place
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.errors import Corrupt, NotFound
from replicator.kernel.manifest import ChunkRef, Manifest, decode_detached_page, decode_manifest
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionId

ObjectKey = tuple[BucketName, ObjectId]
Found = tuple[Version | DeleteMarker, Place]
_UNCHANGED = Place(0, 0)


class ChunkView(Protocol):
    """Where chunks are, those included that the batch in the making names."""

    def look(self, digests: Sequence[Digest]) -> dict[Digest, Location | None]:
        """Where each chunk is."""
        ...

    def is_fresh(self, digest: Digest) -> bool:
        """Whether the chunk is known to have no reference yet."""
        ...

    def set_referenced(self, digests: Iterable[Digest]) -> None:
        """Something refers to these chunks now."""
        ...


class References:
    """The keys of one family that say who refers to what, with the changes of one batch."""

    def __init__(self, catalog: Catalog, family: Family, batch: Batch) -> None:
        self._catalog = catalog
        self._family: Family = family
        self._batch = batch
        self._added: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self._removed: set[bytes] = set()

    def add(self, key: bytes) -> None:
        """Something refers to the digest that `key` begins with."""
        self._batch.put(self._family, key, b"")
        self._added[key[:DIGEST_BYTES]].add(key)
        self._removed.discard(key)

    def remove(self, key: bytes) -> None:
        """It no longer does."""
        self._batch.delete(self._family, key)
        self._added[key[:DIGEST_BYTES]].discard(key)
        self._removed.add(key)

    def existing(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of the keys that are there."""
        known = self._catalog.get_many(self._family, keys)
        return [
            key
            for key, row in zip(keys, known, strict=True)
            if (row is not None and key not in self._removed) or key in self._added[key[:DIGEST_BYTES]]
        ]

    def has_added(self, digest: Digest) -> bool:
        """Whether this batch brings a reference to it."""
        return bool(self._added.get(digest))

    def unreferenced(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those to which nothing refers."""
        unknown = [digest for digest in digests if not self._added.get(digest)]
        following = self._catalog.following(self._family, unknown)
        return [
            digest
            for digest, key in zip(unknown, following, strict=True)
            if not self._is_reference(digest, key)
        ]

    def _is_reference(self, digest: Digest, key: bytes | None) -> bool:
        while key is not None and key.startswith(digest):
            if key not in self._removed:
                return True
            key = self._catalog.following(self._family, [key])[0]
        return False


class Index:
    """One batch in the making. Not thread-safe.

    Args:
        now_ms: since the Unix epoch; when what loses its last reference began to retire.
    """

    def __init__(
        self,
        catalog: Catalog,
        accounts: Accounts,
        chunks: ChunkView,
        *,
        now_ms: int,
    ) -> None:
        self.catalog = catalog
        self.batch = Batch()
        self.accounts = accounts.change()
        self._chunks = chunks
        self._now_ms = now_ms
        self._chunk_refs = References(catalog, "chunks", self.batch)
        self._manifest_refs = References(catalog, "manifests", self.batch)
        self._versions: defaultdict[ObjectKey, dict[VersionId, Found | None]] = defaultdict(dict)
        self._newest: dict[ObjectKey, Version | DeleteMarker | None] = {}
        self._nulls: dict[ObjectKey, VersionId | None] = {}
        self._buckets: dict[BucketName, BucketRow | None] = {}
        self._manifests: dict[Digest, ManifestRow | None] = {}
        self._staged: dict[int, bool] = {}
        self._pages: dict[bytes, Place | None] = {}
        self._moved: set[Digest] = set()

    def apply(
        self, entry: Entry, place: Place, manifest: Manifest | None = None, *, copied: bool = False
    ) -> None:
        """Take in an entry whose record is at `place`.

        Args:
            manifest: of a `ManifestEntry`, where it is decoded already.

        Raises:
            Corrupt: it does not fit what is here.
        """
        match entry:
            case ManifestEntry():
                self._put_manifest(entry, place, manifest or decode_manifest(entry.encoded))
            case PageEntry():
                self._put_page(entry, place)
            case VersionEntry():
                self._put_version(entry.version, place)
            case DropEntry() if copied:
                self.accounts.add_drop(entry.segment, place.segment, drop_record_bytes(entry))
            case DropEntry():
                self._drop_version(entry, place)
            case BucketEntry():
                self._put_bucket(entry, place)
            case CommitEntry():
                pass

    def put_chunks(self, chunks: dict[Digest, Location], replacing: Iterable[Digest]) -> None:
        """Chunks have these places; those of `replacing` may have had others."""
        some = [digest for digest in replacing if digest not in self._moved]
        known = self.catalog.get_many("chunks", some)
        moved = {digest: rows.decode_location(row) for digest, row in zip(some, known, strict=True) if row}
        # As the catalog is before this batch: what the batch adds or removes counts at the new place already.
        dead = set(References(self.catalog, "chunks", Batch()).unreferenced([Digest(key) for key in moved]))
        for digest, before in moved.items():
            after = chunks[digest]
            if digest not in dead:
                self.accounts.add_live(before.segment, -before.record_bytes)
                self.accounts.add_live(after.segment, after.record_bytes)
        for digest, location in chunks.items():
            self.batch.put("chunks", digest, rows.encode_location(location))

    def newest(self, bucket: BucketName, object_id: ObjectId) -> Version | DeleteMarker | None:
        """The newest version or delete marker of an object."""
        key = (bucket, object_id)
        if key not in self._newest:
            self._newest[key] = self._find_newest(key)
        return self._newest[key]

    def version(self, bucket: BucketName, object_id: ObjectId, version: VersionId) -> Found | None:
        """A version, and where its entry is."""
        changed = self._versions[bucket, object_id]
        if version in changed:
            return changed[version]
        key = rows.version_key(bucket, object_id, version)
        row = self.catalog.get("versions", key)
        return None if row is None else (rows.decode_version(key, row), rows.version_place(row))

    def know_absent(self, version: Version | DeleteMarker) -> None:
        """The caller knows that this version is not here: do not look for it."""
        self._versions[version.bucket, version.object_id].setdefault(version.version, None)

    def know_unstaged(self, number: int) -> None:
        """The caller knows that nothing is staged under a number: do not look for it."""
        self._staged.setdefault(number, False)

    def null_version(self, bucket: BucketName, object_id: ObjectId) -> VersionId | None:
        """The id of the null version of an object."""
        key = (bucket, object_id)
        if self.newest(bucket, object_id) is None:
            return None
        if key not in self._nulls:
            row = self.catalog.get("nulls", rows.object_prefix(bucket, object_id))
            self._nulls[key] = None if row is None else VersionId(row)
        return self._nulls[key]

    def bucket(self, name: BucketName) -> BucketRow | None:
        """A bucket, removed ones included."""
        if name not in self._buckets:
            row = self.catalog.get("buckets", name.encode())
            self._buckets[name] = None if row is None else rows.decode_bucket_row(name.encode(), row)
        return self._buckets[name]

    def holds_versions(self, name: BucketName) -> bool:
        """Whether a bucket holds any version or delete marker."""
        if any(key[0] == name and any(each.values()) for key, each in self._versions.items()):
            return True
        for key, row in self.catalog.scan("versions", rows.bucket_prefix(name)):
            version = rows.decode_version(key, row)
            if version.version not in self._versions[name, version.object_id]:
                return True
        return False

    def manifest(self, digest: Digest) -> ManifestRow | None:
        """A manifest that is stored."""
        if digest not in self._manifests:
            row = self.catalog.get("manifests", digest)
            self._manifests[digest] = None if row is None else rows.decode_manifest_row(row, digest)
        return self._manifests[digest]

    def is_referred_to(self, manifest: Digest, version: VersionId) -> bool:
        """Whether a version of that id, of whatever object, refers to the manifest."""
        return bool(self._manifest_refs.existing([rows.manifest_ref_key(manifest, version)]))

    def is_staged(self, number: int) -> bool:
        """Whether what is under the number belongs to no manifest."""
        if number not in self._staged:
            self._staged[number] = self.catalog.get("meta", rows.staged_key(number)) is not None
        return self._staged[number]

    def require_chunks(self, refs: Iterable[ChunkRef]) -> None:
        """Raises `NotFound` unless every chunk is here."""
        for digest, location in self._chunks.look(list({ref.digest for ref in refs})).items():
            if location is None:
                raise NotFound(f"chunk {digest} is not on this node; send it again", digest=str(digest))

    def is_retired(self, digest: Digest, retired_ms: int) -> bool:
        """Whether no version has referred to the manifest since then."""
        row = self.manifest(digest)
        return (
            row is not None
            and row.retired_ms == retired_ms
            and bool(self._manifest_refs.unreferenced([digest]))
        )

    def retire(self, digest: Digest) -> list[Digest]:
        """Forget a manifest that is retired; returns the chunks that nothing refers to any more.

        What pages it has are as if they were staged: they are to be discarded.
        """
        row = self.manifest(digest)
        assert row is not None
        orphans = self._forget_manifest(digest, row)
        self.batch.delete("manifests", digest)
        self._manifests[digest] = None
        return orphans

    def discard_page(self, number: int) -> list[Digest] | None:
        """Undo one page of what is staged under `number`; None once nothing is left of it.

        Returns the chunks that nothing refers to any more.
        """
        if not self.is_staged(number):
            return None
        left = self.catalog.scan("pages", rows.pages_prefix(number))
        key, row = next(
            (each for each in left if self._pages.get(each[0], _UNCHANGED) is not None), (None, b"")
        )
        if key is None:
            self.set_staged(number, False)
            return None
        page = rows.decode_page_row(row)
        place = self._pages.get(key) or page.place
        self._pages[key] = None
        self.batch.delete("pages", key)
        self.accounts.add_live(place.segment, -page_record_bytes(page.encoded))
        return self._remove_chunk_refs(decode_detached_page(page.encoded), number)

    def page_place(self, number: int, page: int) -> Place | None:
        """Where the entry of a page is."""
        key = rows.page_key(number, page)
        if key not in self._pages:
            row = self.catalog.get("pages", key)
            self._pages[key] = None if row is None else rows.decode_page_row(row).place
        return self._pages[key]

    def set_staged(self, number: int, staged: bool) -> None:
        """Mark what is under the number as belonging to no manifest, or take the mark away."""
        self._staged[number] = staged
        if staged:
            self.batch.put("meta", rows.staged_key(number), b"")
        else:
            self.batch.delete("meta", rows.staged_key(number))

    def orphans(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those of the chunks that nothing refers to."""
        return self._chunk_refs.unreferenced(digests)

    def forget_chunks(self, digests: Iterable[Digest]) -> None:
        """Chunks that nothing refers to are here no longer."""
        for digest in digests:
            self.batch.delete("chunks", digest)
            self.batch.delete("meta", rows.damaged_key(digest))

    def move_chunk(self, digest: Digest, before: Location, after: Location, *, referenced: bool) -> None:
        """A chunk has another place from now on; the row follows with `put_chunks`."""
        self._moved.add(digest)
        if referenced:
            self.accounts.add_live(before.segment, -before.record_bytes)
            self.accounts.add_live(after.segment, after.record_bytes)

    def _put_manifest(self, entry: ManifestEntry, place: Place, manifest: Manifest) -> None:
        digest = manifest.digest
        before = self.manifest(digest)
        self.accounts.add_live(place.segment, manifest_record_bytes(entry.encoded))
        if before is not None and before.number == entry.number:
            self.accounts.add_live(before.place.segment, -manifest_record_bytes(entry.encoded))
            self._set_manifest(digest, before._replace(place=place))
            return
        if before is not None:
            self._forget_manifest(digest, before)
        if self.is_staged(entry.number):
            self.set_staged(entry.number, False)
        self._set_manifest(digest, ManifestRow(entry.number, place, 0, manifest))
        self._add_chunk_refs(manifest.entries, entry.number)

    def _forget_manifest(self, digest: Digest, row: ManifestRow) -> list[Digest]:
        if row.retired_ms:
            self.batch.delete("meta", rows.retiring_key(row.retired_ms, digest))
        if row.manifest.pages:
            self.set_staged(row.number, True)
        self.accounts.add_live(row.place.segment, -manifest_record_bytes(row.manifest.encoded))
        return self._remove_chunk_refs(row.manifest.entries, row.number)

    def _set_manifest(self, digest: Digest, row: ManifestRow) -> None:
        self._manifests[digest] = row
        self.batch.put("manifests", digest, rows.encode_manifest_row(row))

    def _put_page(self, entry: PageEntry, place: Place) -> None:
        before = self.page_place(entry.number, entry.page)
        key = rows.page_key(entry.number, entry.page)
        self._pages[key] = place
        self.batch.put("pages", key, rows.encode_page_row(PageRow(place, entry.encoded)))
        self.accounts.add_live(place.segment, page_record_bytes(entry.encoded))
        if before is not None:
            self.accounts.add_live(before.segment, -page_record_bytes(entry.encoded))
            return
        if not self.is_staged(entry.number):
            self.set_staged(entry.number, True)
        self._add_chunk_refs(decode_detached_page(entry.encoded), entry.number)

    def _put_version(self, version: Version | DeleteMarker, place: Place) -> None:
        bucket, object_id = version.bucket, version.object_id
        newest = self.newest(bucket, object_id)
        if (before := self.version(bucket, object_id, version.version)) is not None:
            self.accounts.add_live(before[1].segment, -version_record_bytes(before[0]))
        self._versions[bucket, object_id][version.version] = (version, place)
        row = rows.encode_version_row(version, place)
        self.batch.put("versions", rows.version_key(bucket, object_id, version.version), row)
        if isinstance(version, Version):
            self._refer_to_manifest(version)
        if version.null:
            self._nulls[bucket, object_id] = version.version
            self.batch.put("nulls", rows.object_prefix(bucket, object_id), version.version)
        if newest is None or version.version >= newest.version:
            self._set_newest(version, row)
        self.accounts.add_live(place.segment, version_record_bytes(version))

    def _refer_to_manifest(self, version: Version) -> None:
        row = self.manifest(version.manifest)
        if row is None:
            raise Corrupt(
                f"version {version.version} of '{version.object_id}' has no manifest",
                digest=str(version.manifest),
            )
        if row.retired_ms:
            self.batch.delete("meta", rows.retiring_key(row.retired_ms, version.manifest))
            self._set_manifest(version.manifest, row._replace(retired_ms=0))
        self._manifest_refs.add(rows.manifest_ref_key(version.manifest, version.version))

    def _set_newest(self, version: Version | DeleteMarker, row: bytes) -> None:
        key = rows.object_prefix(version.bucket, version.object_id)
        self._newest[version.bucket, version.object_id] = version
        if isinstance(version, Version):
            self.batch.put("heads", key, version.version + row)
        else:
            self.batch.delete("heads", key)

    def _drop_version(self, entry: DropEntry, place: Place) -> None:
        self.accounts.add_drop(entry.segment, place.segment, drop_record_bytes(entry))
        found = self.version(entry.bucket, entry.object_id, entry.version)
        if found is None or found[1].segment != entry.segment:
            # The version was made again since, and this is a copy of the drop that ended it before.
            return
        version, put_at = found
        key = (entry.bucket, entry.object_id)
        newest = self.newest(*key)
        self._versions[key][entry.version] = None
        self.batch.delete("versions", rows.version_key(*key, entry.version))
        if self.null_version(*key) == entry.version:
            self._nulls[key] = None
            self.batch.delete("nulls", rows.object_prefix(*key))
        if newest is not None and newest.version == entry.version:
            self._fall_back(key)
        if isinstance(version, Version):
            self._let_manifest_go(version)
        self.accounts.add_live(put_at.segment, -version_record_bytes(version))

    def _fall_back(self, key: ObjectKey) -> None:
        """The newest version of an object is gone: the one before it takes its place."""
        del self._newest[key]
        following = self.newest(*key)
        found = None if following is None else self.version(*key, following.version)
        if found is None:
            self.batch.delete("heads", rows.object_prefix(*key))
        else:
            self._set_newest(found[0], rows.encode_version_row(*found))

    def _let_manifest_go(self, version: Version) -> None:
        self._manifest_refs.remove(rows.manifest_ref_key(version.manifest, version.version))
        row = self.manifest(version.manifest)
        if row is not None and self._manifest_refs.unreferenced([version.manifest]):
            self._set_manifest(version.manifest, row._replace(retired_ms=self._now_ms))
            key = rows.retiring_key(self._now_ms, version.manifest)
            self.batch.put("meta", key, rows.encode_number(version.size))

    def _put_bucket(self, entry: BucketEntry, place: Place) -> None:
        before = self.bucket(entry.bucket.name)
        if before is not None:
            self.accounts.add_live(before.place.segment, -bucket_record_bytes(before.bucket))
        row = BucketRow(entry.bucket, entry.removed, place)
        self._buckets[entry.bucket.name] = row
        self.batch.put("buckets", entry.bucket.name.encode(), rows.encode_bucket_row(row))
        self.accounts.add_live(place.segment, bucket_record_bytes(entry.bucket))

    def _add_chunk_refs(self, refs: Iterable[ChunkRef], number: int) -> None:
        digests = list({ref.digest: None for ref in refs})
        born: list[Digest] = []
        unknown: list[Digest] = []
        for digest in digests:
            if not self._chunk_refs.has_added(digest):
                (born if self._chunks.is_fresh(digest) else unknown).append(digest)
        born += self._chunk_refs.unreferenced(unknown)
        self._account_chunks(born, 1)
        for digest in digests:
            self._chunk_refs.add(rows.chunk_ref_key(digest, number))
        self._chunks.set_referenced(digests)

    def _remove_chunk_refs(self, refs: Iterable[ChunkRef], number: int) -> list[Digest]:
        keys = [rows.chunk_ref_key(digest, number) for digest in {ref.digest for ref in refs}]
        # A chunk that two pages of a manifest name has one reference, which goes with the first of them.
        there = self._chunk_refs.existing(keys)
        for key in there:
            self._chunk_refs.remove(key)
        orphans = self._chunk_refs.unreferenced([Digest(key[:DIGEST_BYTES]) for key in there])
        self._account_chunks(orphans, -1)
        return orphans

    def _account_chunks(self, digests: Iterable[Digest], sign: int) -> None:
        for digest, location in self._chunks.look(list(digests)).items():
            if location is None:
                raise Corrupt(f"a manifest refers to chunk {digest}, which is not here", digest=str(digest))
            self.accounts.add_live(location.segment, sign * location.record_bytes)

    def _find_newest(self, key: ObjectKey) -> Version | DeleteMarker | None:
        changed = self._versions[key]
        found = [each[0] for each in changed.values() if each is not None]
        for row_key, row in self.catalog.scan("versions", rows.versions_prefix(*key)):
            version = rows.decode_version(row_key, row)
            if version.version not in changed:
                found.append(version)
                break
        return max(found, key=lambda version: version.version, default=None)
