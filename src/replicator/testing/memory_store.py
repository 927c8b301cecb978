"""A store in memory, for tests: what the `Store` port promises and nothing more. Nothing survives it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from replicator.data_plane.ports import Added, Committed, Condition, NewVersion, Settle, Version
from replicator.kernel.chunker import DEFAULT_CHUNKING, Chunking
from replicator.kernel.clock import Clock
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Conflict, NotFound, ReplicatorError
from replicator.kernel.manifest import ChunkRef, Manifest, decode_page
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionClock

if TYPE_CHECKING:
    from typing_extensions import Buffer

OUTBOX_READ_MAX = 256


class MemoryStore:
    """`Store` on dictionaries. Changes settle before the call returns, one at a time."""

    def __init__(
        self, *, clock: Clock, node_name: str = "memory", chunking: Chunking = DEFAULT_CHUNKING
    ) -> None:
        self.chunking = chunking
        self._clock = clock
        self._versions = VersionClock(node_name)
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._chunks: dict[Digest, bytes] = {}
        self._staged: dict[int, dict[int, bytes]] = {}
        self._manifests: dict[Digest, Manifest] = {}
        self._pages: dict[Digest, dict[int, bytes]] = {}
        self._heads: dict[tuple[BucketName, ObjectId], Version] = {}
        self._outbox: dict[tuple[int, int], bytes] = {}

    def locate(self, digests: Sequence[Digest], *, intact: bool = False) -> list[int | None]:  # noqa: ARG002
        """See `ChunkReader.locate`."""
        found = [self._chunks.get(digest) for digest in digests]
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

    def add(self, chunks: Sequence[tuple[Digest, Buffer]]) -> Added:
        """See `Store.add`."""
        with self._lock:
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

    def delete(self, bucket: BucketName, object_id: ObjectId, condition: Condition, settle: Settle) -> None:
        """See `Store.delete`."""
        self._settle(lambda: self._delete(bucket, object_id, condition), settle)

    def head(self, bucket: BucketName, object_id: ObjectId) -> Version | None:
        """See `Store.head`."""
        return self._heads.get((bucket, object_id))

    def scan(self, bucket: BucketName, prefix: str, after: str | None, limit: int) -> list[Version]:
        """See `Store.scan`."""
        found = [
            version
            for (holder, object_id), version in list(self._heads.items())
            if holder == bucket
            and object_id.startswith(prefix)
            and (after is None or object_id.encode() > after.encode())
        ]
        return sorted(found, key=lambda version: version.object_id.encode())[:limit]

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

    def _settle(self, change: Callable[[], Committed], settle: Settle) -> None:
        try:
            with self._lock:
                done = change()
        except ReplicatorError as error:
            settle(None, error)
        else:
            settle(done, None)

    def _commit(self, new: NewVersion) -> Committed:
        key = (new.bucket, new.object_id)
        current = self._heads.get(key)
        new.condition.check(current)
        added = self.add(new.chunks)
        if current is not None and new.version is not None and current.version >= new.version:
            if (current.version, current.manifest) == (new.version, new.manifest.digest):
                return Committed(current, added)
            raise Conflict(f"a newer version of '{new.object_id}' is here", version=str(current.version))
        if new.version is not None:
            self._versions.observe(new.version)
        version = Version(
            bucket=new.bucket,
            object_id=new.object_id,
            version=new.version or self._versions.next(self._clock.wall_ms()),
            manifest=new.manifest.digest,
            size=new.manifest.size,
            chunk_count=new.manifest.chunk_count,
            content_type=new.content_type,
        )
        if new.manifest_number in self._staged and new.manifest.digest not in self._manifests:
            self._pages[new.manifest.digest] = self._staged[new.manifest_number]
        self._manifests.setdefault(new.manifest.digest, new.manifest)
        self._heads[key] = version
        return Committed(version, added, current)

    def _delete(self, bucket: BucketName, object_id: ObjectId, condition: Condition) -> Committed:
        current = self._heads.get((bucket, object_id))
        if current is None:
            raise NotFound(f"there is no object '{object_id}'", object_id=str(object_id))
        condition.check(current)
        del self._heads[bucket, object_id]
        return Committed(current, Added(0, 0))
