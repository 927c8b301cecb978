"""One thread commits for everybody, in groups.

Whatever waits when the thread comes round is one group: its inline chunks are appended, everything pending
is synced, and then one synced catalog batch takes in the rows of those chunks and all the changes of the
group. Only then is anybody told. So the catalog never names a chunk that was not durable before, and the
cost of two syncs is shared by all who wait. While the group syncs, the next one gathers.

A request that is refused (a condition, a conflict) has changed nothing and does not disturb the others of its
group. A failed sync or batch fails the whole group and every later one: the state on disk is not known until
the store is opened again.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from replicator.data_plane.ports import Added, Committed, Settle, Version
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import Batch, Catalog
from replicator.data_plane.storage.chunk_log import ChunkLog, total
from replicator.data_plane.storage.room import Room
from replicator.kernel.clock import Clock
from replicator.kernel.digest import Digest
from replicator.kernel.errors import QuotaExceeded, ReplicatorError, StoreFailed, Unavailable
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionClock, VersionId

GROUP_REQUESTS_MAX = 256
GROUP_INLINE_BYTES_MAX = 16 * 1024 * 1024
NOTHING_ADDED = Added(0, 0)


@dataclass(slots=True)
class Counters:
    """What only grows, and is kept in the catalog so that it grows across restarts."""

    versions: VersionClock
    manifest_number: int
    """The greatest manifest number that the catalog has seen."""


class Group:
    """What the requests of one group see and change: the catalog as it will be, and the batch."""

    def __init__(self, catalog: Catalog, counters: Counters, wall_ms: int) -> None:
        self.catalog = catalog
        self.batch = Batch()
        self._counters = counters
        self._counted = (counters.versions.stamp, counters.manifest_number)
        self._wall_ms = wall_ms
        self._heads: dict[tuple[BucketName, ObjectId], Version | None] = {}
        self._manifests: set[Digest] = set()
        self._numbers: set[int] = set()

    def head(self, bucket: BucketName, object_id: ObjectId) -> Version | None:
        """The latest version, earlier requests of the group included."""
        key = (bucket, object_id)
        if key not in self._heads:
            self._heads[key] = read_head(self.catalog, bucket, object_id)
        return self._heads[key]

    def set_head(self, bucket: BucketName, object_id: ObjectId, version: Version | None) -> None:
        """Later requests of the group see `version`."""
        self._heads[bucket, object_id] = version

    def has_manifest(self, digest: Digest) -> bool:
        """Whether the manifest is stored, by an earlier request of the group included."""
        return digest in self._manifests or self.catalog.get("manifests", digest) is not None

    def set_manifest(self, digest: Digest, manifest_number: int) -> None:
        """The group stores the manifest, under that number."""
        self._manifests.add(digest)
        self._numbers.add(manifest_number)

    def is_staged(self, manifest_number: int) -> bool:
        """Whether what is under the number still waits for its commit."""
        if manifest_number in self._numbers:
            return False
        return self.catalog.get("meta", rows.staged_key(manifest_number)) is not None

    def version_id(self, given: VersionId | None) -> VersionId:
        """A new version id, or the given one; either way the clock is past it."""
        if given is None:
            return self._counters.versions.next(self._wall_ms)
        self._counters.versions.observe(given)
        return given

    def use_number(self, manifest_number: int) -> None:
        """The catalog will hold rows under this manifest number."""
        self._counters.manifest_number = max(self._counters.manifest_number, manifest_number)

    def close(self) -> None:
        """Add to the batch what the group as a whole leaves behind."""
        stamp, manifest_number = self._counters.versions.stamp, self._counters.manifest_number
        if (stamp, manifest_number) != self._counted:
            self.batch.put("meta", rows.COUNTERS_KEY, rows.encode_counters(stamp, manifest_number))


class Request(Protocol):
    """One change. `apply` either refuses by raising before it touched the batch, or changes it."""

    grows: ClassVar[bool]
    """Whether it makes the catalog larger, and so is refused when the disk is full."""

    @property
    def chunks(self) -> Sequence[tuple[Digest, bytes]]:
        """Chunks to append with the group."""
        ...

    def apply(self, group: Group, added: Added) -> Committed | None:
        """Put the change into the group's batch; what it returns is what the requester hears."""
        ...


def read_head(catalog: Catalog, bucket: BucketName, object_id: ObjectId) -> Version | None:
    """The latest version in the catalog."""
    for key, row in catalog.scan("versions", rows.versions_prefix(bucket, object_id)):
        return rows.decode_version(key, row)
    return None


class Committer:
    """Runs the thread. `submit` may be called from any thread; requests of one thread keep their order."""

    def __init__(
        self,
        catalog: Catalog,
        chunks: ChunkLog,
        *,
        counters: Counters,
        clock: Clock,
        room: Room,
    ) -> None:
        self._catalog = catalog
        self._room = room
        self._chunks = chunks
        self._counters = counters
        self._clock = clock
        self.groups_total = 0
        self.requests_total = 0
        self._waiting: queue.SimpleQueue[tuple[Request, Settle] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def submit(self, request: Request, settle: Settle) -> None:
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

    def _gather(self) -> tuple[list[tuple[Request, Settle]], bool]:
        group: list[tuple[Request, Settle]] = []
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

    def _settle_all(self, members: list[tuple[Request, Settle]]) -> None:
        outcomes: list[tuple[Committed | None, ReplicatorError | None]]
        try:
            self._chunks.require_writable()
            outcomes = self._commit([request for request, _ in members])
        except Exception as error:  # noqa: BLE001  (whatever it is, everybody who waits must hear of it)
            failure = error if isinstance(error, StoreFailed) else _unexpected(error)
            self._chunks.fail(failure)
            outcomes = [(None, failure)] * len(members)
        for (_, settle), outcome in zip(members, outcomes, strict=True):
            settle(*outcome)

    def _commit(self, requests: list[Request]) -> list[tuple[Committed | None, ReplicatorError | None]]:
        self.groups_total += 1
        self.requests_total += len(requests)
        has_room = self._room.has_room()
        group = Group(self._catalog, self._counters, self._clock.wall_ms())
        added = self._append_inline(requests)
        outcomes: list[tuple[Committed | None, ReplicatorError | None]] = []
        for request, brought in zip(requests, added, strict=True):
            try:
                if isinstance(brought, ReplicatorError):
                    raise brought
                if request.grows and not has_room:
                    raise QuotaExceeded("the disk of this node is full: free space, then retry")
                outcomes.append((request.apply(group, brought), None))
            except ReplicatorError as refusal:
                outcomes.append((None, refusal))
        group.close()
        sealed = self._chunks.seal()
        for digest, location in sealed.chunks.items():
            group.batch.put("chunks", digest, rows.encode_location(location))
        for digest in self._chunks.to_clear(sealed.chunks):
            group.batch.delete("meta", rows.damaged_key(digest))
        for number, length in sealed.lengths.items():
            group.batch.put("meta", rows.segment_key(number), rows.encode_number(length))
        if group.batch.operations:
            self._catalog.write(group.batch)
        self._chunks.forget()
        return outcomes

    def _append_inline(self, requests: list[Request]) -> list[Added | ReplicatorError]:
        chunks = [chunk for request in requests for chunk in request.chunks]
        if not chunks:
            return [NOTHING_ADDED] * len(requests)
        try:
            flags = iter(self._chunks.add(chunks))
        except StoreFailed:
            raise
        except (QuotaExceeded, Unavailable) as error:
            return [error if request.chunks else NOTHING_ADDED for request in requests]
        return [
            total([next(flags) for _ in request.chunks], request.chunks) if request.chunks else NOTHING_ADDED
            for request in requests
        ]


def _unexpected(error: Exception) -> StoreFailed:
    failure = StoreFailed(f"a commit failed: {error}; restart the node")
    failure.__cause__ = error
    return failure
