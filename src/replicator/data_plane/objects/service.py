"""What clients do with objects, for one event loop: the store's blocking work goes to threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from replicator.data_plane.objects.blocks import BlockBudget
from replicator.data_plane.objects.finding import find_version
from replicator.data_plane.objects.upload import Upload
from replicator.data_plane.ports import (
    UNCONDITIONAL,
    Committed,
    Condition,
    Deleted,
    Hold,
    NewVersion,
    Settle,
    SettleDeleted,
    Store,
    Version,
)
from replicator.data_plane.settling import LoopSettler
from replicator.data_plane.threads import Threads, finished, result
from replicator.kernel.digest import Digest
from replicator.kernel.errors import ReplicatorError
from replicator.kernel.manifest import ChunkRef, Manifest
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.kernel.version import VersionId

# Up to here, cutting and hashing cost less than handing the body to a thread.
_ON_LOOP_BYTES_MAX = 64 * 1024
_ON_LOOP_DIGESTS_MAX = 64


class ObjectService:
    """Put, read and delete."""

    def __init__(
        self,
        store: Store,
        settler: LoopSettler,
        threads: concurrent.futures.Executor,
        budget: BlockBudget,
    ) -> None:
        self.store = store
        self.budget = budget
        self.threads = Threads(threads)
        self._settler = settler

    async def put(
        self,
        bucket: BucketName,
        object_id: ObjectId,
        body: AsyncIterator[list[bytes]],
        *,
        content_type: str,
        condition: Condition = UNCONDITIONAL,
        expected: Digest | None = None,
    ) -> Committed:
        """Store `body` as the latest version of the object.

        Args:
            body: blocks, each a list of byte strings, best of `budget.block_bytes()` together.
            expected: SHA-256 that the body must have.

        Returns:
            The version, durable, what was new in it, and the version it replaced.

        Raises:
            NotFound: there is no such bucket.
            DigestMismatch, PreconditionFailed, QuotaExceeded, StoreFailed; or what `body` raises. The
            object is then as it was.
        """
        self.store.require_writable()
        if bucket != DEFAULT_BUCKET:
            self.store.bucket(bucket)
        if condition is not UNCONDITIONAL:
            condition.check(self.store.head(bucket, object_id))
        upload = Upload(self.store, bucket=bucket, object_id=object_id, expected=expected)
        try:
            last = await self._write_all(upload, body)
            finish = functools.partial(upload.finish, content_type=content_type, condition=condition)
            small = not upload.begun and sum(map(len, last)) <= _ON_LOOP_BYTES_MAX
            new = finish(*last) if small else await self.threads.run(finish, *last)
        except BaseException:
            upload.abandon()
            raise
        done = await self._commit(new, upload.close)
        return Committed(done.version, upload.total(done.added), done.replaced)

    async def delete(
        self,
        bucket: BucketName,
        object_id: ObjectId,
        condition: Condition = UNCONDITIONAL,
        *,
        version: VersionId | None = None,
    ) -> Deleted:
        """See `Store.delete`. Raises `NotFound`, `PreconditionFailed`, `StoreFailed`."""

        def start(settle: SettleDeleted) -> None:
            self.store.delete(bucket, object_id, condition, settle, version=version)

        done = await self._settler.settled(start)
        assert done is not None
        return done

    async def put_chunk(self, digest: Digest, body: bytes) -> bool:
        """Keep one chunk, durably; says whether it was new. The caller has checked the digest."""

        def keep() -> bool:
            with self.store.hold(f"upload of chunk {digest}") as hold:
                added = self.store.add([(digest, body)], hold)
                self.store.checkpoint()
            return added.chunks > 0

        return await self.threads.run(keep)

    async def locate(self, digests: list[Digest], hold: Hold) -> list[int | None]:
        """See `ChunkReader.locate`; many are looked up in a thread."""
        look = functools.partial(self.store.locate, digests, hold=hold)
        if len(digests) <= _ON_LOOP_DIGESTS_MAX:
            return look()
        return await self.threads.run(look)

    def find(self, bucket: BucketName, object_id: ObjectId, version: VersionId | None = None) -> Version:
        """See `find_version`."""
        return find_version(self.store, bucket, object_id, version)

    async def read(self, version: Version, start: int, stop: int) -> AsyncGenerator[memoryview, None]:
        """The bytes from `start` to `stop`, in blocks, every record checked.

        The next block is read while the caller sends the one before. What is read stays until the generator is
        closed.

        Raises:
            NotFound: the version was removed meanwhile.
            Corrupt: a record fails its check. What came before it was intact.
        """
        with self.store.hold(f"read of '{version.object_id}'") as hold:
            manifest = self.store.pin(version.manifest, hold)
            batches = batch_range(self.store, manifest, start, stop, self.budget.block_bytes)
            async with aclosing(self.read_ahead(batches)) as blocks:
                async for batch, block in blocks:
                    yield block[batch.skip : batch.stop]

    async def read_ahead(
        self, batches: Iterator[Batch], *, gap: int = 0
    ) -> AsyncGenerator[tuple[Batch, memoryview], None]:
        """Each batch with its bytes, see `ChunkReader.read`; the next is read while this one is used."""
        current = next(batches, None)
        if current is None:
            return
        read = functools.partial(self.store.read, gap=gap)
        try:
            block = read(current.refs, wait=False)
        except BlockingIOError:
            block = await self.threads.run(read, current.refs)
        while current is not None:
            following = next(batches, None)
            ahead = None if following is None else self.threads.start(read, following.refs)
            try:
                yield current, block
            finally:
                if ahead is not None:
                    await finished(ahead)
            if ahead is not None:
                block = ahead.result()
            current = following

    async def _commit(self, new: NewVersion, release: Callable[[], None]) -> Committed:
        """Commit; `release` is called once that has settled, whether or not the caller still waits."""

        def start(settle: Settle) -> None:
            def settled(done: Committed | None, error: ReplicatorError | None) -> None:
                release()
                settle(done, error)

            self.store.commit(new, settled)

        done = await self._settler.settled(start)
        assert done is not None
        return done

    async def _write_all(self, upload: Upload, body: AsyncIterator[list[bytes]]) -> list[bytes]:
        """Feed every block but the last, which is returned; one is written while the next arrives."""
        writing: asyncio.Future[None] | None = None
        last: list[bytes] = []
        try:
            async for block in body:
                if writing is not None:
                    await result(writing)
                    writing = None
                if last:
                    writing = self.threads.start(upload.write, *last)
                last = block
        finally:
            if writing is not None:
                await finished(writing)
        if writing is not None:
            writing.result()
        return last


class Batch(NamedTuple):
    """Chunks to read in one go, and which of their bytes are wanted."""

    refs: Sequence[ChunkRef]
    skip: int
    stop: int


def batch_range(
    store: Store, manifest: Manifest, start: int, stop: int, block_bytes: Callable[[], int]
) -> Iterator[Batch]:
    """The chunks that hold the bytes from `start` to `stop`, in batches of about `block_bytes()`."""
    first_page, offset = _page_at(manifest, start)
    refs: list[ChunkRef] = []
    batch_start = offset
    for entries in store.entries(manifest, first_page):
        for ref in entries:
            end = offset + ref.length
            if end > start:
                if not refs:
                    batch_start = offset
                refs.append(ref)
            offset = end
            if refs and (offset - batch_start >= block_bytes() or offset >= stop):
                yield Batch(refs, max(0, start - batch_start), min(offset, stop) - batch_start)
                refs = []
            if offset >= stop:
                return


def _page_at(manifest: Manifest, position: int) -> tuple[int, int]:
    """(index, offset in the object) of the page that holds the byte at `position`."""
    offset = 0
    for index, page in enumerate(manifest.pages):
        if offset + page.length > position:
            return index, offset
        offset += page.length
    return 0, 0
