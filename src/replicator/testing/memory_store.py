"""A store in memory, for tests: what the `Store` port promises and nothing more. Nothing survives it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from replicator.data_plane.ports import (
    Added,
    Bucket,
    Committed,
    Condition,
    Deleted,
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
from replicator.kernel.chunker import DEFAULT_CHUNKING, Chunking
from replicator.kernel.clock import Clock
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Conflict, NotFound, ReplicatorError
from replicator.kernel.manifest import ChunkRef, Manifest, decode_page
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionClock, VersionId
from replicator.testing.memory_buckets import MemoryBuckets

if TYPE_CHECKING:
    from typing_extensions import Buffer

T = TypeVar("T")

OUTBOX_READ_MAX = 256


class MemoryStore:
    """`Store` on dictionaries. Changes settle before the call returns, one at a time.

    Nothing is reclaimed.

    Attributes:
        holds: those that are not closed.
    """

    def __init__(
        self, *, clock: Clock, node_name: str = "memory", chunking: Chunking = DEFAULT_CHUNKING
    ) -> None:
        self.chunking = chunking
        self._clock = clock
        self._clock_ids = VersionClock(node_name)
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._chunks: dict[Digest, bytes] = {}
        self._staged: dict[int, dict[int, bytes]] = {}
        self._manifests: dict[Digest, Manifest] = {}
        self._pages: dict[Digest, dict[int, bytes]] = {}
        self._buckets = MemoryBuckets(clock.wall_ms)
        self.holds: list[Hold] = []
        self._outbox: dict[tuple[int, int], bytes] = {}

    def hold(self, purpose: str) -> Hold:
        """See `Store.hold`."""
        hold = Hold(purpose, self._let_go)
        self.holds.append(hold)
        return hold

    def locate(
        self,
        digests: Sequence[Digest],
        *,
        intact: bool = False,  # noqa: ARG002
        hold: Hold | None = None,
    ) -> list[int | None]:
        """See `ChunkReader.locate`."""
        found = [self._chunks.get(digest) for digest in digests]
        if hold is not None:
            hold.chunks.update(digest for digest in digests if digest in self._chunks)
        return [None if payload is None else len(payload) for payload in found]

    def read(self, refs: Sequence[ChunkRef], *, wait: bool = True, gap: int = 0) -> memoryview:  # noqa: ARG002
        """See `ChunkReader.read`; memory never waits."""
        parts = []
        for ref in refs:
            payload = self._chunks.get(ref.digest)
            if payload is None:
                raise NotFound(f"chunk {ref.digest} is not on this node", digest=str(ref.digest))
            parts += [bytes(gap), payload]
        return memoryview(bytearray(b"".join(parts)))

    def add(self, chunks: Sequence[tuple[Digest, Buffer]], hold: Hold | None = None) -> Added:
        """See `Store.add`."""
        with self._lock:
            if hold is not None:
                hold.chunks.update(digest for digest, _ in chunks)
            new = {digest: bytes(payload) for digest, payload in chunks if digest not in self._chunks}
            self._chunks |= new
        return Added(len(new), sum(map(len, new.values())))

    def checkpoint(self) -> None:
        """See `Store.checkpoint`."""

    def stage(self) -> int:
        """See `Store.stage`."""
        return next(self._numbers)

    def stage_page(self, number: int, index: int, encoded: bytes, entries: Sequence[ChunkRef]) -> None:  # noqa: ARG002
        """See `Store.stage_page`."""
        self._staged.setdefault(number, {})[index] = encoded

    def discard(self, number: int) -> None:
        """See `Store.discard`."""
        self._staged.pop(number, None)

    def commit(self, new: NewVersion, settle: Settle) -> None:
        """See `Store.commit`."""
        self._settle(lambda: self._commit(new), settle)
        if new.manifest_number is not None:
            self.discard(new.manifest_number)

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
        self._settle(lambda: self._delete(bucket, object_id, condition, version), settle)

    def head(self, bucket: BucketName, object_id: ObjectId) -> Version | None:
        """See `Store.head`."""
        with self._lock:
            return self._buckets.head(bucket, object_id)

    def version(
        self, bucket: BucketName, object_id: ObjectId, version: VersionId
    ) -> Version | DeleteMarker | None:
        """See `Store.version`."""
        with self._lock:
            return self._buckets.find(bucket, object_id, version)

    def versions(
        self, bucket: BucketName, object_id: ObjectId, after: VersionId | None, limit: int
    ) -> list[Version | DeleteMarker]:
        """See `Store.versions`."""
        with self._lock:
            history = self._buckets.history(bucket, object_id)
        return [each for each in history if after is None or each.version < after][:limit]

    def bucket_versions(
        self, bucket: BucketName, prefix: str, after: tuple[ObjectId, VersionId] | None, limit: int
    ) -> list[Version | DeleteMarker]:
        """See `Store.bucket_versions`."""
        with self._lock:
            return self._buckets.all_versions(bucket, prefix, after)[:limit]

    def list_objects(
        self, bucket: BucketName, prefix: str, *, delimiter: str = "", after: str | None = None, limit: int
    ) -> Listing:
        """See `Store.list_objects`."""
        with self._lock:
            return self._buckets.list_objects(bucket, prefix, delimiter, after, limit)

    def scan(
        self, bucket: BucketName, prefix: str, *, after: str = "", until: str = "", all_versions: bool = False
    ) -> Iterator[Scanned]:
        """See `Store.scan`."""
        with self._lock:
            return iter(
                self._buckets.scan(bucket, prefix, after=after, until=until, all_versions=all_versions)
            )

    def bucket(self, name: BucketName) -> Bucket:
        """See `Store.bucket`."""
        with self._lock:
            return self._buckets.bucket(name)

    def buckets(self, after: BucketName | None, limit: int) -> list[Bucket]:
        """See `Store.buckets`."""
        with self._lock:
            return self._buckets.after(after, limit)

    def set_bucket(self, name: BucketName, versioning: Versioning) -> Bucket:
        """See `Store.set_bucket`."""
        with self._lock:
            return self._buckets.set(name, versioning)

    def remove_bucket(self, name: BucketName) -> None:
        """See `Store.remove_bucket`."""
        with self._lock:
            self._buckets.remove(name)

    def pin(self, digest: Digest, hold: Hold) -> Manifest:
        """See `Store.pin`."""
        manifest = self.manifest(digest)
        hold.manifests.add(digest)
        return manifest

    def manifest(self, digest: Digest) -> Manifest:
        """See `Store.manifest`."""
        if digest not in self._manifests:
            raise NotFound(f"there is no manifest {digest}", digest=str(digest))
        return self._manifests[digest]

    def page(self, manifest: Manifest, index: int) -> bytes:
        """See `Store.page`."""
        pages = self._pages.get(manifest.digest, {})
        if index not in pages:
            raise NotFound(f"manifest {manifest.digest} has no page {index}", digest=str(manifest.digest))
        return pages[index]

    def entries(self, manifest: Manifest, first_page: int = 0) -> Iterator[Sequence[ChunkRef]]:
        """See `Store.entries`."""
        if manifest.entries:
            yield manifest.entries
        for index in range(first_page, manifest.page_count):
            yield decode_page(self.page(manifest, index), manifest, index)

    def outbox(self) -> list[tuple[int, int, bytes]]:
        """See `Store.outbox`."""
        return [(*key, payload) for key, payload in sorted(self._outbox.items())][:OUTBOX_READ_MAX]

    def post(self, task_id: int, epoch: int, payload: bytes) -> None:
        """See `Store.post`."""
        self._outbox[task_id, epoch] = payload

    def withdraw(self, task_id: int, epoch: int) -> None:
        """See `Store.withdraw`."""
        self._outbox.pop((task_id, epoch), None)

    @property
    def has_damage(self) -> bool:
        """See `Store.has_damage`; memory does not rot."""
        return False

    def require_writable(self) -> None:
        """See `Store.require_writable`."""

    def _let_go(self, hold: Hold) -> None:
        hold.chunks.clear()
        hold.manifests.clear()
        if hold in self.holds:
            self.holds.remove(hold)

    def _settle(
        self, change: Callable[[], T], settle: Callable[[T | None, ReplicatorError | None], None]
    ) -> None:
        try:
            with self._lock:
                done = change()
        except ReplicatorError as error:
            settle(None, error)
        else:
            settle(done, None)

    def _commit(self, new: NewVersion) -> Committed:
        bucket = self._buckets.bucket(new.bucket)
        new.condition.check(self._buckets.head(new.bucket, new.object_id))
        if new.shares:
            self.manifest(new.manifest.digest)
        added = self.add(new.chunks)
        known = None if new.version is None else self._buckets.find(new.bucket, new.object_id, new.version)
        if known is not None:
            if isinstance(known, Version) and known.manifest == new.manifest.digest:
                return Committed(known, added)
            raise Conflict(f"another version of '{new.object_id}' has this id", version=str(known.version))
        version = Version(
            bucket=new.bucket,
            object_id=new.object_id,
            version=new.version or self._new_id(),
            manifest=new.manifest.digest,
            size=new.manifest.size,
            chunk_count=new.manifest.chunk_count,
            content_type=new.content_type,
            null=bucket.versioning is not Versioning.ON,
        )
        replaced = self._buckets.place(version)
        self._clock_ids.observe(version.version)
        if new.manifest_number in self._staged and new.manifest.digest not in self._manifests:
            self._pages[new.manifest.digest] = self._staged[new.manifest_number]
        self._manifests.setdefault(new.manifest.digest, new.manifest)
        return Committed(version, added, replaced if isinstance(replaced, Version) else None)

    def _delete(
        self, bucket: BucketName, object_id: ObjectId, condition: Condition, version: VersionId | None
    ) -> Deleted:
        if version is None:
            return self._buckets.delete(bucket, object_id, condition, self._new_id)
        return self._buckets.delete_version(bucket, object_id, condition, version)

    def _new_id(self) -> VersionId:
        return self._clock_ids.next(self._clock.wall_ms())
