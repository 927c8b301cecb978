"""One body on its way into the store: cut, hash, add what is new, build the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from replicator.data_plane.ports import UNCONDITIONAL, Added, Condition, Hold, NewVersion, Store
from replicator.kernel.chunker import Chunker
from replicator.kernel.digest import Digest
from replicator.kernel.errors import DigestMismatch
from replicator.kernel.manifest import ChunkRef, ManifestBuilder
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId

CHECKPOINT_BYTES = 64 * 1024 * 1024
INLINE_CHUNKS_MAX = 64


class Upload:
    """Blocking and not thread-safe: `write` any number of times, then `finish` or `abandon`.

    What was added is held until it is part of a page that is staged, or of the version: `close` is for when the
    commit has settled.

    Memory: the block at hand, one page of the manifest, and at most one chunk held back. What was added is
    made durable every `CHECKPOINT_BYTES`, so that neither the kernel nor the store gathers a backlog.

    Attributes:
        begun: something was written, so that `finish` may wait for the disk.
    """

    def __init__(
        self,
        store: Store,
        *,
        object_id: ObjectId,
        bucket: BucketName = DEFAULT_BUCKET,
        expected: Digest | None = None,
    ) -> None:
        self._store = store
        self._object_id = object_id
        self._bucket = bucket
        self._chunker = Chunker(store.chunking)
        self._builder = ManifestBuilder(store.chunking)
        self._expected = expected
        self._whole = hashlib.sha256() if expected is not None else None
        self._number: int | None = None
        # A body that comes whole with its version adds nothing before, and so needs none.
        self._hold: Hold | None = None
        self._added = Added(0, 0)
        self._unsynced_bytes = 0
        self.begun = False

    def write(self, *blocks: bytes) -> None:
        """Take the next bytes of the body, best about a mebibyte. Raises what `Store.add` raises."""
        self.begun = True
        self._add(self._cut(blocks, last=False))

    def finish(self, *blocks: bytes, content_type: str, condition: Condition = UNCONDITIONAL) -> NewVersion:
        """The version to commit. A small body that came whole with this call goes as inline chunks.

        Raises:
            DigestMismatch: the body is not what it was said to be.
        """
        chunks = self._cut(blocks, last=True)
        if self._whole is not None and self._whole.digest() != self._expected:
            raise DigestMismatch(
                "the body does not hash to the digest sent with it; nothing was kept",
                expected=str(self._expected),
                actual=self._whole.hexdigest(),
            )
        inline = not self.begun and len(chunks) <= INLINE_CHUNKS_MAX
        if inline:
            self._list(chunks)
        else:
            self._add(chunks)
        manifest, last_page = self._builder.finish()
        if last_page is not None:
            self._stage(last_page)
            self._hold_only(())
        return NewVersion(
            object_id=self._object_id,
            bucket=self._bucket,
            manifest=manifest,
            content_type=content_type,
            chunks=chunks if inline else (),
            manifest_number=self._number,
            condition=condition,
        )

    def abandon(self) -> None:
        """The body will not come: undo what was staged for it."""
        if self._number is not None:
            self._store.discard(self._number)
        self.close()

    def close(self) -> None:
        """The commit has settled, or will not come: hold nothing any more."""
        if self._hold is not None:
            self._hold.close()

    def total(self, inline: Added) -> Added:
        """What the whole body brought, given what its inline chunks did."""
        return Added(self._added.chunks + inline.chunks, self._added.bytes + inline.bytes)

    def _cut(self, blocks: tuple[bytes, ...], *, last: bool) -> list[tuple[Digest, memoryview]]:
        if self._whole is not None:
            for block in blocks:
                self._whole.update(block)
        chunks = [(Digest.of(piece), piece) for piece in self._chunker.feed(*blocks)] if blocks else []
        if last:
            chunks += [(Digest.of(piece), piece) for piece in self._chunker.finish()]
        return chunks

    def _add(self, chunks: Sequence[tuple[Digest, memoryview]]) -> None:
        if self._hold is None:
            self._hold = self._store.hold(f"upload of '{self._object_id}'")
        added = self._store.add(chunks, self._hold)
        self._added = Added(self._added.chunks + added.chunks, self._added.bytes + added.bytes)
        self._unsynced_bytes += added.bytes
        if self._unsynced_bytes >= CHECKPOINT_BYTES:
            self._store.checkpoint()
            self._unsynced_bytes = 0
        self._list(chunks)

    def _list(self, chunks: Sequence[tuple[Digest, memoryview]]) -> None:
        for index, (digest, piece) in enumerate(chunks):
            page = self._builder.add(ChunkRef(digest, len(piece)))
            if page is not None:
                self._stage(page)
                self._hold_only(chunks[index:])

    def _stage(self, page: tuple[int, bytes, Sequence[ChunkRef]]) -> None:
        if self._number is None:
            self._number = self._store.stage()
        self._store.stage_page(self._number, *page)

    def _hold_only(self, chunks: Sequence[tuple[Digest, memoryview]]) -> None:
        """The staged page refers to its chunks; those behind it were added too, and still need the hold."""
        if self._hold is not None:
            self._hold.chunks.intersection_update([digest for digest, _ in chunks])
