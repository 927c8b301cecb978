"""The store of a node: chunk log, catalog and committer behind one port."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from replicator.data_plane.ports import Added, Committed, Condition, NewVersion, Settle, Version
from replicator.data_plane.settling import wait_settled
from replicator.data_plane.storage import files, rows
from replicator.data_plane.storage.catalog import Catalog
from replicator.data_plane.storage.chunk_log import ChunkLog, total
from replicator.data_plane.storage.committer import Committer, Counters, Request, read_head
from replicator.data_plane.storage.recovery import Recovered, make_folders, open_store_id, recover
from replicator.data_plane.storage.requests import (
    Checkpoint,
    CommitVersion,
    DeleteVersion,
    DiscardPage,
    SetRow,
    StagePage,
)
from replicator.data_plane.storage.room import Room
from replicator.data_plane.storage.segment import Segments
from replicator.kernel.chunker import DEFAULT_CHUNKING, Chunking
from replicator.kernel.clock import Clock
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt, NotFound, ReplicatorError, StoreFailed, Unavailable
from replicator.kernel.manifest import ChunkRef, Manifest, decode_page
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VERSION_ID_BYTES, VersionClock

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
        counters: Counters,
        clock: Clock,
        room: Room,
        on_failure: Callable[[StoreFailed], None],
        chunking: Chunking = DEFAULT_CHUNKING,
    ) -> None:
        self.chunking = chunking
        self._segments = segments
        self._catalog = catalog
        self._chunks = ChunkLog(segments, catalog, on_failure=on_failure)
        self.committer = Committer(catalog, self._chunks, counters=counters, clock=clock, room=room)
        self._numbers = itertools.count(counters.manifest_number + 1)
        self._manifest_row = lru_cache(maxsize=_MANIFESTS_CACHED)(self._read_manifest_row)
        for key, _ in catalog.scan("meta", rows.STAGED_PREFIX):
            self.discard(rows.staged_number(key))

    def locate(self, digests: Sequence[Digest], *, intact: bool = False) -> list[int | None]:
        """See `ChunkReader.locate`."""
        found = self._chunks.find(digests, intact=intact)
        places = [found[digest] for digest in digests]
        return [place.length if place is not None else None for place in places]

    def read(self, refs: Sequence[ChunkRef], *, wait: bool = True, gap: int = 0) -> memoryview:
        """See `ChunkReader.read`."""
        try:
            return self._chunks.read([ref.digest for ref in refs], wait=wait, gap=gap)
        except Corrupt as error:
            self._record_damage(Digest.parse(error.data["digest"]))
            raise

    def add(self, chunks: Sequence[tuple[Digest, Buffer]]) -> Added:
        """See `Store.add`."""
        return total(self._chunks.add(chunks), chunks)

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
            if not request.staging_used:
                self.discard(staged)
            settle(done, error)

        self.committer.submit(request, settle_staged)

    def delete(self, bucket: BucketName, object_id: ObjectId, condition: Condition, settle: Settle) -> None:
        """See `Store.delete`."""
        self.committer.submit(DeleteVersion(bucket, object_id, condition), settle)

    def head(self, bucket: BucketName, object_id: ObjectId) -> Version | None:
        """See `Store.head`."""
        return read_head(self._catalog, bucket, object_id)

    def scan(self, bucket: BucketName, prefix: str, after: str | None, limit: int) -> list[Version]:
        """See `Store.scan`."""
        if "\0" in prefix:
            # No id holds the separator, but keys do.
            return []
        # The byte behind the separator: past every version of `after`, before its longer siblings.
        start = None if after is None else rows.object_prefix(bucket, after) + b"\x01"
        found: list[Version] = []
        for key, row in self._catalog.scan("versions", rows.object_prefix(bucket, prefix), start):
            if found and key[:-VERSION_ID_BYTES] == rows.versions_prefix(bucket, found[-1].object_id):
                continue
            if len(found) == limit:
                break
            found.append(rows.decode_version(key, row))
        return found

    def manifest(self, digest: Digest) -> Manifest:
        """See `Store.manifest`."""
        return self._manifest_row(digest)[1]

    def page(self, manifest: Manifest, index: int) -> bytes:
        """See `Store.page`."""
        number, _ = self._manifest_row(manifest.digest)
        encoded = self._catalog.get("pages", rows.page_key(number, index))
        if encoded is None:
            raise NotFound(f"manifest {manifest.digest} has no page {index}", digest=str(manifest.digest))
        return encoded

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
        self._commit(SetRow(rows.outbox_key(task_id, epoch), payload))

    def withdraw(self, task_id: int, epoch: int) -> None:
        """See `Store.withdraw`."""
        self.committer.submit(SetRow(rows.outbox_key(task_id, epoch), None), lambda *_: None)

    @property
    def has_damage(self) -> bool:
        """See `Store.has_damage`."""
        return self._chunks.has_damage

    def require_writable(self) -> None:
        """See `Store.require_writable`."""
        self._chunks.require_writable()

    def close(self) -> None:
        """Commit what waits, then release every file. Nothing durable needs it."""
        self.committer.close()
        self._catalog.close()
        self._segments.close()

    def _record_damage(self, digest: Digest) -> None:
        if self._chunks.to_record(digest):
            self.committer.submit(SetRow(rows.damaged_key(digest), b""), lambda *_: None)

    def _commit(self, request: Request) -> None:
        wait_settled(lambda settle: self.committer.submit(request, settle))

    def _read_manifest_row(self, digest: Digest) -> tuple[int, Manifest]:
        row = self._catalog.get("manifests", digest)
        if row is None:
            raise NotFound(f"there is no manifest {digest}", digest=str(digest))
        return rows.decode_manifest_row(row, digest)


class OpenedStore:
    """A store, the lock on its folder, and what its opening found."""

    def __init__(self, store: NodeStore, lock: int, recovered: Recovered) -> None:
        self.store = store
        self.recovered = recovered
        self._lock = lock

    def close(self) -> None:
        """Close the store, then let other processes have the folder."""
        self.store.close()
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
) -> OpenedStore:
    """Open the store in the folder `path`, making it where there is none.

    Args:
        node_name: goes into the version ids made here.
        open_catalog: opens the catalog in a folder.
        segment_bytes_max: length in bytes from which a segment is followed by a new one.
        reserve_bytes: what appending always leaves free on the disk.
        on_failure: hears once why the store takes no more writes.

    Raises:
        Conflict: another process has the folder.
        Corrupt, Unavailable: the store does not open; the message says why. Nothing was changed.
    """
    with contextlib.ExitStack() as undo:
        try:
            files.make_folder(path)
            lock = files.lock_folder(path)
            undo.callback(os.close, lock)
            segments_folder, catalog_folder = make_folders(path)
            catalog = open_catalog(catalog_folder)
            undo.callback(catalog.close)
            segments = Segments(
                segments_folder,
                store_id=open_store_id(segments_folder, catalog),
                segment_bytes_max=segment_bytes_max,
                reserve_bytes=reserve_bytes,
            )
            undo.callback(segments.close)
            recovered = recover(segments, catalog)
            counters = _read_counters(catalog, node_name)
        except OSError as error:
            raise Unavailable(f"the store in '{path}' does not open: {error}", path=path) from error
        store = NodeStore(
            segments=segments,
            catalog=catalog,
            counters=counters,
            clock=clock,
            room=Room(path),
            on_failure=on_failure,
            chunking=chunking,
        )
        undo.pop_all()
    return OpenedStore(store, lock, recovered)


def _read_counters(catalog: Catalog, node_name: str) -> Counters:
    row = catalog.get("meta", rows.COUNTERS_KEY)
    stamp, manifest_number = rows.decode_counters(row) if row is not None else (0, 0)
    return Counters(VersionClock(node_name, stamp), manifest_number)
