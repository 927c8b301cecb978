"""The store of a node: chunk log, catalog and committer behind one port."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from replicator.data_plane.ports import (
    Added,
    Bucket,
    Committed,
    Condition,
    DeleteMarker,
    Hold,
    Listing,
    NewVersion,
    Scanned,
    Settle,
    SettleDeleted,
    Version,
    Versioning,
)
from replicator.data_plane.settling import wait_settled
from replicator.data_plane.storage import files, rows
from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.backup import refuse_backup
from replicator.data_plane.storage.catalog import Catalog
from replicator.data_plane.storage.chunk_log import ChunkLog, total
from replicator.data_plane.storage.codec import ChunkCompressor
from replicator.data_plane.storage.committer import Committer, Counters, Request
from replicator.data_plane.storage.listing import list_objects, scan_heads, scan_versions
from replicator.data_plane.storage.migration import migrate
from replicator.data_plane.storage.parts import StoreParts
from replicator.data_plane.storage.recovery import Recovered, make_folders, open_store_id, recover
from replicator.data_plane.storage.requests import (
    Checkpoint,
    CommitVersion,
    DeleteVersion,
    DiscardPage,
    RemoveBucket,
    SetBucket,
    SetRow,
    StagePage,
    require_bucket,
)
from replicator.data_plane.storage.room import Room, make_room
from replicator.data_plane.storage.segment import Segments
from replicator.kernel.chunker import DEFAULT_CHUNKING, Chunking
from replicator.kernel.clock import Clock
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt, NotFound, ReplicatorError, StoreFailed, Unavailable
from replicator.kernel.manifest import ChunkRef, Manifest, decode_page
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.kernel.version import VersionClock, VersionId

if TYPE_CHECKING:
    from typing_extensions import Buffer

OUTBOX_READ_MAX = 256
_MANIFESTS_CACHED = 8


class NodeStore:
    """`Store` on disk. See `open_store`; `close` ends it."""

    def __init__(
        self,
        *,
        segments: Segments,
        catalog: Catalog,
        accounts: Accounts,
        counters: Counters,
        clock: Clock,
        room: Room,
        on_failure: Callable[[StoreFailed], None],
        chunking: Chunking = DEFAULT_CHUNKING,
        compressor: ChunkCompressor | None = None,
    ) -> None:
        self.chunking = chunking
        self._segments = segments
        self._catalog = catalog
        self._chunks = ChunkLog(segments, catalog, on_failure=on_failure, compressor=compressor)
        self.accounts = accounts
        self.committer = Committer(
            catalog, self._chunks, accounts=accounts, counters=counters, clock=clock, room=room
        )
        self.parts = StoreParts(
            segments=segments,
            catalog=catalog,
            chunks=self._chunks,
            committer=self.committer,
            accounts=accounts,
            clock=clock,
        )
        self._numbers = itertools.count(counters.manifest_number + 1)
        self._decoded = lru_cache(maxsize=_MANIFESTS_CACHED)(_Decoded)
        for key, _ in catalog.scan("meta", rows.STAGED_PREFIX):
            self.discard(rows.staged_number(key))

    def hold(self, purpose: str) -> Hold:
        """See `Store.hold`."""
        return self._chunks.hold(purpose)

    def locate(
        self, digests: Sequence[Digest], *, intact: bool = False, hold: Hold | None = None
    ) -> list[int | None]:
        """See `ChunkReader.locate`."""
        found = self._chunks.find(digests, intact=intact, hold=hold)
        places = [found[digest] for digest in digests]
        return [place.raw_length if place is not None else None for place in places]

    def read(self, refs: Sequence[ChunkRef], *, wait: bool = True, gap: int = 0) -> memoryview:
        """See `ChunkReader.read`."""
        try:
            return self._chunks.read([ref.digest for ref in refs], wait=wait, gap=gap)
        except Corrupt as error:
            # Where it is the catalog that cannot be read, no chunk is known to be bad.
            if "digest" in error.data:
                self._record_damage(Digest.parse(error.data["digest"]))
            raise

    def add(self, chunks: Sequence[tuple[Digest, Buffer]], hold: Hold | None = None) -> Added:
        """See `Store.add`."""
        return total(self._chunks.add(chunks, hold), chunks)

    def checkpoint(self) -> None:
        """See `Store.checkpoint`."""
        self._commit(Checkpoint())

    def stage(self) -> int:
        """See `Store.stage`."""
        return next(self._numbers)

    def stage_page(self, number: int, index: int, encoded: bytes, entries: Sequence[ChunkRef]) -> None:
        """See `Store.stage_page`."""
        self._commit(StagePage(number, index, encoded, entries))

    def discard(self, number: int) -> None:
        """See `Store.discard`."""
        request = DiscardPage(number)

        def again(_: Committed | None, error: ReplicatorError | None) -> None:
            # After a failure the mark stays, and the next opening takes it up again.
            if error is None and not request.done:
                self.committer.submit(request, again)

        self.committer.submit(request, again)

    def commit(self, new: NewVersion, settle: Settle) -> None:
        """See `Store.commit`."""
        staged = new.manifest_number
        request = CommitVersion(new, next(self._numbers) if staged is None else staged)
        if staged is None:
            self.committer.submit(request, settle)
            return

        def settle_staged(done: Committed | None, error: ReplicatorError | None) -> None:
            if error is not None or not request.staging_used:
                self.discard(staged)
            settle(done, error)

        self.committer.submit(request, settle_staged)

    def delete(
        self,
        bucket: BucketName,
        object_id: ObjectId,
        condition: Condition,
        settle: SettleDeleted,
        *,
        version: VersionId | None = None,
    ) -> None:
        """See `Store.delete`."""
        self.committer.submit(DeleteVersion(bucket, object_id, condition, version), settle)

    def head(self, bucket: BucketName, object_id: ObjectId) -> Version | None:
        """See `Store.head`."""
        key = rows.object_prefix(bucket, object_id)
        row = self._catalog.get("heads", key)
        return None if row is None else rows.decode_head(key, row)

    def version(
        self, bucket: BucketName, object_id: ObjectId, version: VersionId
    ) -> Version | DeleteMarker | None:
        """See `Store.version`."""
        key = rows.version_key(bucket, object_id, version)
        row = self._catalog.get("versions", key)
        return None if row is None else rows.decode_version(key, row)

    def versions(
        self, bucket: BucketName, object_id: ObjectId, after: VersionId | None, limit: int
    ) -> list[Version | DeleteMarker]:
        """See `Store.versions`."""
        start = None if after is None else rows.version_key(bucket, object_id, after) + b"\0"
        found = self._catalog.scan("versions", rows.versions_prefix(bucket, object_id), start)
        return [rows.decode_version(key, row) for key, row in itertools.islice(found, limit)]

    def bucket_versions(
        self, bucket: BucketName, prefix: str, after: tuple[ObjectId, VersionId] | None, limit: int
    ) -> list[Version | DeleteMarker]:
        """See `Store.bucket_versions`."""
        self.bucket(bucket)
        if "\0" in prefix:
            # No id holds the separator, but keys do.
            return []
        start = None if after is None else rows.version_key(bucket, *after) + b"\0"
        found = self._catalog.scan("versions", rows.object_prefix(bucket, prefix), start)
        return [rows.decode_version(key, row) for key, row in itertools.islice(found, limit)]

    def list_objects(
        self, bucket: BucketName, prefix: str, *, delimiter: str = "", after: str | None = None, limit: int
    ) -> Listing:
        """See `Store.list`."""
        self.bucket(bucket)
        return list_objects(self._catalog, bucket, prefix, delimiter=delimiter, after=after, limit=limit)

    def scan(
        self, bucket: BucketName, prefix: str, *, after: str = "", until: str = "", all_versions: bool = False
    ) -> Iterator[Scanned]:
        """See `Store.scan`."""
        self.bucket(bucket)
        if "\0" in prefix:
            # No id holds the separator, but keys do.
            return iter(())
        scan = scan_versions if all_versions else scan_heads
        return scan(self._catalog, bucket, prefix, after=after, until=until)

    def bucket(self, name: BucketName) -> Bucket:
        """See `Store.bucket`."""
        row = self._catalog.get("buckets", name.encode())
        return require_bucket(None if row is None else rows.decode_bucket_row(name.encode(), row), name)

    def buckets(self, after: BucketName | None, limit: int) -> list[Bucket]:
        """See `Store.buckets`."""
        start = None if after is None else after.encode() + b"\0"
        known = (rows.decode_bucket_row(*each) for each in self._catalog.scan("buckets", b"", start))
        found = list(itertools.islice((row.bucket for row in known if not row.removed), limit))
        if all(bucket.name != DEFAULT_BUCKET for bucket in found) and (after or "") < DEFAULT_BUCKET:
            found.append(self.bucket(DEFAULT_BUCKET))
        return sorted(found)[:limit]

    def set_bucket(self, name: BucketName, versioning: Versioning) -> Bucket:
        """See `Store.set_bucket`."""
        bucket: Bucket | None = self._commit(SetBucket(name, versioning))
        assert bucket is not None
        return bucket

    def remove_bucket(self, name: BucketName) -> None:
        """See `Store.remove_bucket`."""
        self._commit(RemoveBucket(name))

    def pin(self, digest: Digest, hold: Hold) -> Manifest:
        """See `Store.pin`."""
        self._chunks.pin(digest, hold)
        return self._manifest_row(digest).manifest

    def manifest(self, digest: Digest) -> Manifest:
        """See `Store.manifest`."""
        return self._manifest_row(digest).manifest

    def page(self, manifest: Manifest, index: int) -> bytes:
        """See `Store.page`."""
        number = self._manifest_row(manifest.digest).number
        row = self._catalog.get("pages", rows.page_key(number, index))
        if row is None:
            raise NotFound(f"manifest {manifest.digest} has no page {index}", digest=str(manifest.digest))
        return rows.decode_page_row(row).encoded

    def entries(self, manifest: Manifest, first_page: int = 0) -> Iterator[Sequence[ChunkRef]]:
        """See `Store.entries`."""
        if manifest.entries:
            yield manifest.entries
        for index in range(first_page, manifest.page_count):
            yield decode_page(self.page(manifest, index), manifest, index)

    def outbox(self) -> list[tuple[int, int, bytes]]:
        """See `Store.outbox`."""
        waiting = itertools.islice(self._catalog.scan("meta", rows.OUTBOX_PREFIX), OUTBOX_READ_MAX)
        return [(*rows.decode_outbox_key(key), payload) for key, payload in waiting]

    def post(self, task_id: int, epoch: int, payload: bytes) -> None:
        """See `Store.post`."""
        self._commit(SetRow(rows.outbox_key(task_id, epoch), payload, durable=True))

    def withdraw(self, task_id: int, epoch: int) -> None:
        """See `Store.withdraw`."""
        self.committer.submit(SetRow(rows.outbox_key(task_id, epoch), None), lambda *_: None)

    @property
    def has_damage(self) -> bool:
        """See `Store.has_damage`."""
        return bool(self._chunks.damaged)

    def require_writable(self) -> None:
        """See `Store.require_writable`."""
        self._chunks.require_writable()

    def close(self) -> None:
        """Commit what waits, then release every file. Nothing durable needs it. Raises `StoreFailed`."""
        self.committer.close()
        try:
            self._catalog.close()
        finally:
            self._segments.close()

    def _record_damage(self, digest: Digest) -> None:
        if self._chunks.to_record(digest):
            self.committer.submit(
                SetRow(rows.damaged_key(digest), rows.encode_damaged_row(wrong=False)), lambda *_: None
            )

    def _commit(self, request: Request) -> Any:
        return wait_settled(lambda settle: self.committer.submit(request, settle))

    def _manifest_row(self, digest: Digest) -> rows.ManifestRow:
        row = self._catalog.get("manifests", digest)
        if row is None:
            raise NotFound(f"there is no manifest {digest}", digest=str(digest))
        # A manifest that was reclaimed and stored again has another number and place, but the same content.
        return self._decoded(digest).row(row)


class _Decoded:
    """Keeps a manifest's content: decoding a long one for each of its pages would take longer than reading them."""

    def __init__(self, digest: Digest) -> None:
        self._digest = digest
        self._manifest: Manifest | None = None

    def row(self, row: bytes) -> rows.ManifestRow:
        """Decode `row`, but for the content where it is known."""
        if self._manifest is None:
            self._manifest = rows.decode_manifest_row(row, self._digest).manifest
        return rows.decode_manifest_row(row, self._digest, self._manifest)


class OpenedStore:
    """A store, the lock on its folder, and what its opening found."""

    def __init__(self, store: NodeStore, lock: int, recovered: Recovered) -> None:
        self.store = store
        self.recovered = recovered
        self._lock = lock

    def close(self) -> None:
        """Close the store, then let other processes have the folder."""
        try:
            self.store.close()
        finally:
            os.close(self._lock)


def open_store(
    path: str,
    *,
    node_name: str,
    open_catalog: Callable[[str], Catalog],
    clock: Clock,
    segment_bytes_max: int,
    reserve_bytes: int,
    on_failure: Callable[[StoreFailed], None],
    chunking: Chunking = DEFAULT_CHUNKING,
    compressor: ChunkCompressor | None = None,
) -> OpenedStore:
    """Open the store in the folder `path`, making it where there is none.

    Args:
        node_name: goes into the version ids made here.
        open_catalog: opens the catalog in a folder.
        segment_bytes_max: length in bytes from which a segment is followed by a new one.
        reserve_bytes: what appending always leaves free on the disk.
        on_failure: hears once why the store takes no more writes.
        compressor: for new chunks; those that are here are read with and without it.

    Raises:
        Conflict: another process has the folder.
        InvalidRequest: it is a backup.
        Corrupt, Unavailable: the store does not open; the message says why. Nothing was changed.
    """
    with contextlib.ExitStack() as undo:
        try:
            refuse_backup(path)
            files.make_folder(path)
            lock = files.lock_folder(path)
            undo.callback(os.close, lock)
            segments_folder, catalog_folder = make_folders(path)
            make_room(path)
            catalog = open_catalog(catalog_folder)
            undo.callback(catalog.close)
            fmt, store_id = open_store_id(segments_folder, catalog)
            segments = Segments(
                segments_folder,
                store_id=store_id,
                segment_bytes_max=segment_bytes_max,
                reserve_bytes=reserve_bytes,
            )
            undo.callback(segments.close)
            counters = _read_counters(catalog, node_name)
            accounts = Accounts.load(catalog)
            now_ms = clock.wall_ms()
            is_current = fmt == rows.STORE_FORMAT
            recovered = recover(
                segments, catalog, accounts, counters, now_ms=now_ms, takes_entries=is_current
            )
            if not is_current:
                migrate(segments, catalog, accounts, counters, store_id=store_id, now_ms=now_ms)
        except OSError as error:
            raise Unavailable(f"the store in '{path}' does not open: {error}", path=path) from error
        store = NodeStore(
            segments=segments,
            catalog=catalog,
            accounts=accounts,
            counters=counters,
            clock=clock,
            room=Room(path),
            on_failure=on_failure,
            chunking=chunking,
            compressor=compressor,
        )
        undo.pop_all()
    return OpenedStore(store, lock, recovered)


def _read_counters(catalog: Catalog, node_name: str) -> Counters:
    row = catalog.get("meta", rows.COUNTERS_KEY)
    stamp, manifest_number, lsn = rows.decode_counters(row) if row is not None else (0, 0, 0)
    return Counters(VersionClock(node_name, stamp), manifest_number, lsn)
