"""One thread commits for everybody, in groups.

Whatever waits when the thread comes round is one group. Its inline chunks and the entries of its changes are
appended to the log in one write that ends with a commit mark; the log is synced; then one batch brings the
catalog up to there, and everybody is told. So the catalog never names a chunk that was not durable before,
and one sync is shared by all who wait. The catalog itself is synced now and then: what it lacks after a power
cut, recovery reads from the log. While the group syncs, the next one gathers.

A request that is refused (a condition, a conflict) has changed nothing and does not disturb the others of its
group. A failed sync or batch fails the whole group and every later one: the state on disk is not known until
the store is opened again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from replicator.data_plane.ports import Added, Bucket, DeleteMarker, Version
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.catalog import Batch, Catalog
from replicator.data_plane.storage.chunk_log import ChunkLog, Sealed, Tail, total
from replicator.data_plane.storage.entries import (
    BucketEntry,
    CommitEntry,
    DropEntry,
    Entry,
    ManifestEntry,
    PageEntry,
    VersionEntry,
    encode_entry,
)
from replicator.data_plane.storage.index import Index
from replicator.data_plane.storage.record import encode_record_header
from replicator.data_plane.storage.room import Room
from replicator.data_plane.storage.rows import Location, Place
from replicator.kernel.clock import Clock
from replicator.kernel.digest import Digest
from replicator.kernel.errors import QuotaExceeded, ReplicatorError, StoreFailed, Unavailable
from replicator.kernel.manifest import Manifest
from replicator.kernel.version import VersionClock, VersionId

if TYPE_CHECKING:
    from typing_extensions import Buffer

GROUP_REQUESTS_MAX = 256
GROUP_INLINE_BYTES_MAX = 16 * 1024 * 1024
CATALOG_SYNC_BYTES = 64 * 1024 * 1024
NOTHING_ADDED = Added(0, 0)
Outcome = tuple[Any, ReplicatorError | None]


@dataclass(slots=True)
class Counters:
    """What only grows, and is kept in the catalog so that it grows across restarts."""

    versions: VersionClock
    manifest_number: int
    """The greatest manifest number that the catalog has seen."""
    lsn: int
    """The greatest lsn in the log."""

    def see(self, entry: Entry) -> None:
        """Grow past what an entry of the log, read again, says."""
        self.lsn = max(self.lsn, entry.lsn)
        if isinstance(entry, ManifestEntry | PageEntry):
            self.manifest_number = max(self.manifest_number, entry.number)
        if isinstance(entry, VersionEntry):
            self.versions.observe(entry.version.version)

    def put_row(self, batch: Batch) -> None:
        """The row that keeps them."""
        row = rows.encode_counters(self.versions.stamp, self.manifest_number, self.lsn)
        batch.put("meta", rows.COUNTERS_KEY, row)


class Group(Index):
    """What the requests of one group see and change: an index whose entries are new in the log.

    Attributes:
        must_sync: something is in the batch that the log does not tell, and that must be durable.
    """

    def __init__(
        self, catalog: Catalog, accounts: Accounts, tail: Tail, *, counters: Counters, wall_ms: int
    ) -> None:
        super().__init__(catalog, accounts, tail, now_ms=wall_ms)
        self.tail = tail
        self.wall_ms = wall_ms
        self.must_sync = False
        self._counters = counters
        self._entries = 0

    def log_version(self, version: Version | DeleteMarker) -> None:
        """A version or delete marker is made that is not here."""
        self.know_absent(version)
        self._log(VersionEntry(self._next_lsn(), version))

    def log_drop(self, version: Version | DeleteMarker, place: Place) -> None:
        """A version, whose entry is at `place`, is gone for good."""
        names = version.bucket, version.object_id, version.version
        self._log(DropEntry(self._next_lsn(), place.segment, *names))

    def log_manifest(self, manifest: Manifest, number: int) -> None:
        """A manifest is stored; the pages of that number belong to it."""
        if number > self._counters.manifest_number:
            self.know_unstaged(number)
        self.use_number(number)
        self._log(ManifestEntry(self._next_lsn(), number, manifest.encoded), manifest)

    def log_page(self, number: int, page: int, encoded: bytes) -> None:
        """A page is staged."""
        self.use_number(number)
        self._log(PageEntry(self._next_lsn(), number, page, encoded))

    def log_bucket(self, bucket: Bucket, *, removed: bool = False) -> None:
        """A bucket is made, changed or removed."""
        self._log(BucketEntry(self._next_lsn(), bucket, removed))

    def copy(self, entry: Entry, head: Buffer, payload: Buffer) -> None:
        """The record of an entry that stands is in the log once more, as it is."""
        self._entries += 1
        self.apply(entry, self.tail.record(head, payload), copied=True)

    def copy_chunk(
        self, digest: Digest, before: Location, head: Buffer, payload: Buffer, *, referenced: bool
    ) -> None:
        """The record of a chunk is in the log once more, as it is, and that one counts."""
        after = self.tail.move(digest, head, payload, before)
        self.move_chunk(digest, before, after, referenced=referenced)

    def drop_chunks(self, orphans: Iterable[Digest]) -> list[Digest]:
        """Forget those of the chunks, to which nothing refers, that nobody holds; returns them."""
        free = self.tail.droppable(orphans)
        self.forget_chunks(free)
        return free

    def version_id(self, given: VersionId | None) -> VersionId:
        """A new version id, or the given one; either way the clock is past it."""
        if given is None:
            return self._counters.versions.next(self.wall_ms)
        self._counters.versions.observe(given)
        return given

    def use_number(self, manifest_number: int) -> None:
        """The catalog will hold rows under this manifest number."""
        self._counters.manifest_number = max(self._counters.manifest_number, manifest_number)

    @property
    def change_count(self) -> int:
        """Entries and rows so far."""
        return self._entries + len(self.batch.operations)

    def close(self) -> None:
        """End the group in the log."""
        if self._entries:
            self._record(CommitEntry(self._next_lsn(), self._entries))
            self._counters.put_row(self.batch)

    def _log(self, entry: Entry, manifest: Manifest | None = None) -> None:
        self._entries += 1
        self.apply(entry, self._record(entry), manifest)

    def _record(self, entry: Entry) -> Place:
        kind, payload = encode_entry(entry)
        return self.tail.record(encode_record_header(Digest.of(payload), payload, kind=kind), payload)

    def _next_lsn(self) -> int:
        self._counters.lsn += 1
        return self._counters.lsn


class Request(Protocol):
    """One change. `apply` refuses by raising before it changed anything of the group."""

    grows: ClassVar[bool]
    """Whether it makes the catalog larger, and so is refused when the disk is full."""

    @property
    def chunks(self) -> Sequence[tuple[Digest, bytes]]:
        """Chunks to append with the group."""
        ...

    def apply(self, group: Group, added: Added) -> Any:
        """Put the change into the group's batch; what it returns is what the requester hears."""
        ...


class Committer:
    """Runs the thread. `submit` may be called from any thread; requests of one thread keep their order."""

    def __init__(
        self,
        catalog: Catalog,
        chunks: ChunkLog,
        *,
        accounts: Accounts,
        counters: Counters,
        clock: Clock,
        room: Room,
    ) -> None:
        self._catalog = catalog
        self._room = room
        self._chunks = chunks
        self._accounts = accounts
        self._counters = counters
        self._clock = clock
        self._unsynced_bytes = 0
        self.groups_total = 0
        self.requests_total = 0
        self._waiting: queue.SimpleQueue[tuple[Request, Callable[..., None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def submit(self, request: Request, settle: Callable[..., None]) -> None:
        """Have `request` committed; `settle` is called exactly once, from the committer's thread."""
        self._waiting.put((request, settle))

    def close(self) -> None:
        """Commit what waits, then end the thread. Nothing may be submitted afterwards."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        running = True
        while running:
            group, running = self._gather()
            if group:
                self._settle_all(group)

    def _gather(self) -> tuple[list[tuple[Request, Callable[..., None]]], bool]:
        group: list[tuple[Request, Callable[..., None]]] = []
        inline_bytes = 0
        while len(group) < GROUP_REQUESTS_MAX and inline_bytes < GROUP_INLINE_BYTES_MAX:
            try:
                item = self._waiting.get(block=not group)
            except queue.Empty:
                break
            if item is None:
                return group, False
            group.append(item)
            inline_bytes += sum(len(payload) for _, payload in item[0].chunks)
        return group, True

    def _settle_all(self, members: list[tuple[Request, Callable[..., None]]]) -> None:
        outcomes: list[Outcome]
        try:
            self._chunks.require_writable()
            outcomes = self._commit([request for request, _ in members])
        except Exception as error:  # noqa: BLE001  (whatever it is, everybody who waits must hear of it)
            failure = error if isinstance(error, StoreFailed) else _unexpected(error)
            self._chunks.fail(failure)
            outcomes = [(None, failure)] * len(members)
        for (_, settle), outcome in zip(members, outcomes, strict=True):
            settle(*outcome)

    def _commit(self, requests: list[Request]) -> list[Outcome]:
        try:
            return self._commit_group(requests)
        except StoreFailed:
            raise
        except _Spoiled as spoiled:
            at = spoiled.index
            rest = self._commit(requests[:at] + requests[at + 1 :]) if len(requests) > 1 else []
            return [*rest[:at], (None, spoiled.error), *rest[at:]]
        except (QuotaExceeded, Unavailable) as refusal:
            return self._commit_without_growth(requests, refusal)

    def _commit_without_growth(self, requests: list[Request], refusal: ReplicatorError) -> list[Outcome]:
        """The disk took no more: refuse those who bring something, and serve the others from the ballast."""
        was_given = self._room.give()
        rest = [request for request in requests if not request.grows]
        if len(rest) == len(requests) and not was_given:
            return [(None, refusal)] * len(requests)
        served = iter(self._commit(rest) if rest else [])
        return [(None, refusal) if request.grows else next(served) for request in requests]

    def _commit_group(self, requests: list[Request]) -> list[Outcome]:
        self.groups_total += 1
        self.requests_total += len(requests)
        has_room = self._room.has_room(growing=any(request.grows for request in requests))
        inline = [chunk for request in requests for chunk in request.chunks]
        with self._chunks.appending(inline) as tail:
            group = Group(
                self._catalog, self._accounts, tail, counters=self._counters, wall_ms=self._clock.wall_ms()
            )
            outcomes = self._apply(group, requests, has_room)
            group.close()
            tail.write()
            sealed = self._chunks.seal()
        self._chunks.sync(sealed)
        self._write(group, sealed, tail.length)
        self._chunks.forget()
        return outcomes

    def _apply(self, group: Group, requests: list[Request], has_room: bool) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for request, brought in zip(requests, self._append_inline(group.tail, requests), strict=True):
            before = group.change_count
            try:
                if isinstance(brought, ReplicatorError):
                    outcomes.append((None, brought))
                elif request.grows and not has_room:
                    full = QuotaExceeded("the disk of this node is full: free space, then retry")
                    outcomes.append((None, full))
                else:
                    outcomes.append((request.apply(group, brought), None))
            except (QuotaExceeded, Unavailable):
                # The log cannot take what the request says: see `_commit`.
                raise
            except ReplicatorError as refusal:
                if group.change_count != before:
                    raise _Spoiled(len(outcomes), refusal) from refusal
                outcomes.append((None, refusal))
        return outcomes

    def _append_inline(self, tail: Tail, requests: list[Request]) -> list[Added | ReplicatorError]:
        chunks = [chunk for request in requests for chunk in request.chunks]
        if not chunks:
            return [NOTHING_ADDED] * len(requests)
        try:
            self._chunks.require_room(sum(len(payload) for _, payload in chunks))
        except QuotaExceeded as full:
            return [full if request.chunks else NOTHING_ADDED for request in requests]
        flags = iter(tail.add(chunks))
        return [
            total([next(flags) for _ in request.chunks], request.chunks) if request.chunks else NOTHING_ADDED
            for request in requests
        ]

    def _write(self, group: Group, sealed: Sealed, appended: int) -> None:
        """Bring the catalog up to the end of the log."""
        batch = group.batch
        group.put_chunks(sealed.chunks, sealed.replacing)
        for digest in self._chunks.to_clear(sealed.chunks):
            batch.delete("meta", rows.damaged_key(digest))
        for segment, end in sealed.ends.items():
            if self._accounts.absorbed.get(segment) != end:
                group.accounts.absorb(segment, end)
        group.accounts.put_rows(batch)
        if batch.operations:
            self._catalog.write(batch)
        group.accounts.apply()
        self._unsynced_bytes += appended + sum(each.record_bytes for each in sealed.chunks.values())
        if group.must_sync or self._unsynced_bytes >= CATALOG_SYNC_BYTES:
            self._catalog.sync()
            self._unsynced_bytes = 0


class _Spoiled(Exception):
    """The request at `index` failed in the middle of its changes (a catalog row that it met is damaged).

    Nothing of the group is written yet: it is made again without that request.
    """

    def __init__(self, index: int, error: ReplicatorError) -> None:
        super().__init__(error.message)
        self.index = index
        self.error = error


def _unexpected(error: Exception) -> StoreFailed:
    failure = StoreFailed(f"a commit failed: {error}; restart the node")
    failure.__cause__ = error
    return failure
