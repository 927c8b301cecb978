"""What clients do with objects, for one event loop: the store's blocking work goes to threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from replicator.data_plane.objects.blocks import BlockBudget
from replicator.data_plane.objects.upload import Upload
from replicator.data_plane.ports import UNCONDITIONAL, Committed, Condition, Store, Version
from replicator.data_plane.settling import LoopSettler
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import ChunkRef, Manifest
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId

T = TypeVar("T")

# Up to here, cutting and hashing cost less than handing the body to a thread.
_ON_LOOP_BYTES_MAX = 64 * 1024
_ON_LOOP_DIGESTS_MAX = 64


class ObjectService:
    """Put, read, list and delete, in the bucket `default`."""

    def __init__(
        self,
        store: Store,
        settler: LoopSettler,
        threads: concurrent.futures.Executor,
        budget: BlockBudget,
    ) -> None:
        self.store = store
        self.budget = budget
        self._settler = settler
        self._threads = threads
        self._loop = asyncio.get_running_loop()

    async def put(
        self,
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
            DigestMismatch, PreconditionFailed, QuotaExceeded, StoreFailed; or what `body` raises. The
            object is then as it was.
        """
        self.store.require_writable()
        if condition is not UNCONDITIONAL:
            condition.check(self.store.head(DEFAULT_BUCKET, object_id))
        upload = Upload(self.store, expected=expected)
        try:
            last = await self._write_all(upload, body)
            finish = functools.partial(
                upload.finish, object_id=object_id, content_type=content_type, condition=condition
            )
            small = not upload.begun and sum(map(len, last)) <= _ON_LOOP_BYTES_MAX
            new = finish(*last) if small else await _result(self._start(finish, *last))
        except BaseException:
            upload.abandon()
            raise
        done = await self._settler.settled(lambda settle: self.store.commit(new, settle))
        assert done is not None
        return Committed(done.version, upload.total(done.added), done.replaced)

    async def delete(self, object_id: ObjectId, condition: Condition = UNCONDITIONAL) -> Version:
        """Remove the object; returns what was removed. Raises `NotFound`, `PreconditionFailed`."""
        done = await self._settler.settled(
            lambda settle: self.store.delete(DEFAULT_BUCKET, object_id, condition, settle)
        )
        assert done is not None
        return done.version

    async def put_chunk(self, digest: Digest, body: bytes) -> bool:
        """Keep one chunk, durably; says whether it was new. The caller has checked the digest."""

        def keep() -> bool:
            added = self.store.add([(digest, body)])
            self.store.checkpoint()
            return added.chunks > 0

        return await _result(self._start(keep))

    async def locate(self, digests: list[Digest]) -> list[int | None]:
        """See `ChunkReader.locate`; many are looked up in a thread."""
        if len(digests) <= _ON_LOOP_DIGESTS_MAX:
            return self.store.locate(digests)
        return await _result(self._start(self.store.locate, digests))

    def head(self, object_id: ObjectId) -> Version | None:
        """The latest version."""
        return self.store.head(DEFAULT_BUCKET, object_id)

    async def read(self, version: Version, start: int, stop: int) -> AsyncIterator[memoryview]:
        """The bytes from `start` to `stop`, in blocks, every record checked.

        The next block is read while the caller sends the one before.

        Raises:
            Corrupt: a record fails its check. What came before it was intact.
        """
        manifest = self.store.manifest(version.manifest)
        batches = batch_range(self.store, manifest, start, stop, self.budget.block_bytes)
        async for batch, block in self.read_ahead(batches):
            yield block[batch.skip : batch.stop]

    async def read_ahead(
        self, batches: Iterator[Batch], *, gap: int = 0
    ) -> AsyncIterator[tuple[Batch, memoryview]]:
        """Each batch with its bytes, see `ChunkReader.read`; the next is read while this one is used."""
        current = next(batches, None)
        if current is None:
            return
        read = functools.partial(self.store.read, gap=gap)
        try:
            block = read(current.refs, wait=False)
        except BlockingIOError:
            block = await _result(self._start(read, current.refs))
        while current is not None:
            following = next(batches, None)
            ahead = None if following is None else self._start(read, following.refs)
            try:
                yield current, block
            finally:
                if ahead is not None:
                    await _finished(ahead)
            if ahead is not None:
                block = ahead.result()
            current = following

    async def _write_all(self, upload: Upload, body: AsyncIterator[list[bytes]]) -> list[bytes]:
        """Feed every block but the last, which is returned; one is written while the next arrives."""
        writing: asyncio.Future[None] | None = None
        last: list[bytes] = []
        try:
            async for block in body:
                if writing is not None:
                    await _result(writing)
                    writing = None
                if last:
                    writing = self._start(upload.write, *last)
                last = block
        finally:
            if writing is not None:
                await _finished(writing)
        if writing is not None:
            writing.result()
        return last

    def _start(self, work: Callable[..., T], *args: object) -> asyncio.Future[T]:
        return self._loop.run_in_executor(self._threads, work, *args)


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


async def _result(running: asyncio.Future[T]) -> T:
    await _finished(running)
    return running.result()


async def _finished(running: asyncio.Future[T]) -> None:
    """Wait until a thread is done, even when cancelled: nobody else may touch what it works on before."""
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not running.cancelled():
            running.exception()
        raise cancelled
