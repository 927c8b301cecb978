"""Objects for tests of stores: small ones written out chunk by chunk, long ones with pages, real uploads."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from replicator.data_plane.objects.blocks import BLOCK_BYTES_MAX
from replicator.data_plane.objects.service import batch_range
from replicator.data_plane.objects.upload import Upload
from replicator.data_plane.ports import (
    UNCONDITIONAL,
    Committed,
    Condition,
    Deleted,
    DeleteMarker,
    NewVersion,
    Settle,
    SettleDeleted,
    Store,
    Version,
)
from replicator.data_plane.settling import wait_settled
from replicator.kernel.chunker import Chunking
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import PAGE_ENTRIES, ChunkRef, Manifest, ManifestBuilder
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.kernel.version import VersionId

TINY_CHUNKING = Chunking(chunk_bytes_min=64, chunk_bytes_avg=256, chunk_bytes_max=1024)
CONTENT_TYPE = "text/plain"


def noise(seed: int, length: int) -> bytes:
    """`length` bytes that do not compress and are the same for the same seed."""
    return random.Random(seed).randbytes(length)


def ref_of(payload: bytes) -> ChunkRef:
    """How a manifest names the chunk `payload`."""
    return ChunkRef(Digest.of(payload), len(payload))


def named(*payloads: bytes) -> list[tuple[Digest, bytes]]:
    """Chunks as `Store.add` takes them."""
    return [(Digest.of(payload), payload) for payload in payloads]


def manifest_of(*payloads: bytes) -> Manifest:
    """The manifest of an object that has these chunks, at most `PAGE_ENTRIES` of them."""
    builder = ManifestBuilder(TINY_CHUNKING)
    for payload in payloads:
        builder.add(ref_of(payload))
    return builder.finish()[0]


def new_version(
    object_id: str,
    *payloads: bytes,
    bucket: BucketName = DEFAULT_BUCKET,
    version: VersionId | None = None,
    condition: Condition = UNCONDITIONAL,
    shares: bool = False,
) -> NewVersion:
    """A version whose chunks come with it, unless it shares those that are there."""
    return NewVersion(
        object_id=ObjectId.parse(object_id),
        bucket=bucket,
        manifest=manifest_of(*payloads),
        content_type=CONTENT_TYPE,
        chunks=() if shares else named(*payloads),
        version=version,
        condition=condition,
        shares=shares,
    )


def commit(store: Store, new: NewVersion) -> Committed:
    """Commit and wait; raises what the commit settles with."""

    def start(settle: Settle) -> None:
        store.commit(new, settle)

    done = wait_settled(start)
    assert done is not None
    return done


def delete(
    store: Store,
    object_id: str,
    condition: Condition = UNCONDITIONAL,
    bucket: BucketName = DEFAULT_BUCKET,
    *,
    version: VersionId | None = None,
) -> Deleted:
    """Delete and wait; raises what the deletion settles with."""

    def start(settle: SettleDeleted) -> None:
        store.delete(bucket, ObjectId(object_id), condition, settle, version=version)

    done = wait_settled(start)
    assert done is not None
    return done


def listed(
    store: Store,
    prefix: str = "",
    *,
    bucket: BucketName = DEFAULT_BUCKET,
    after: str | None = None,
    limit: int = 1000,
) -> list[Version]:
    """The latest versions on one page of a listing without a delimiter."""
    return store.list_objects(bucket, prefix, after=after, limit=limit).versions


def history(
    store: Store, object_id: str, bucket: BucketName = DEFAULT_BUCKET
) -> list[Version | DeleteMarker]:
    """Every version and delete marker of an object, newest first."""
    return list(store.versions(bucket, ObjectId(object_id), None, 1000))


def read_all(store: Store, manifest: Manifest) -> bytes:
    """The object's bytes, a page of its manifest at a time."""
    return b"".join(bytes(store.read(entries)) for entries in store.entries(manifest))


def contents(store: Store, bucket: BucketName = DEFAULT_BUCKET) -> dict[str, bytes]:
    """The bytes of every object of a bucket, by id."""
    found = listed(store, bucket=bucket)
    return {str(version.object_id): read_all(store, store.manifest(version.manifest)) for version in found}


class LongObject:
    """An object with two pages of chunks, made of a few distinct ones so that it has few bytes."""

    def __init__(self, seed: int = 0) -> None:
        self.payloads = [noise(seed + length, length) for length in (1, 2, 3)]
        self.pages: list[tuple[int, bytes, Sequence[ChunkRef]]] = []
        self.data = b""
        builder = ManifestBuilder(TINY_CHUNKING)
        for payload in itertools.islice(itertools.cycle(self.payloads), PAGE_ENTRIES + 5):
            if page := builder.add(ref_of(payload)):
                self.pages.append(page)
            self.data += payload
        self.manifest, last = builder.finish()
        assert last is not None
        self.pages.append(last)

    def stage(self, store: Store) -> int:
        """Add the chunks and stage both pages; returns the manifest's number."""
        store.add(named(*self.payloads))
        number = store.stage()
        for index, encoded, entries in self.pages:
            store.stage_page(number, index, encoded, entries)
        return number

    def new_version(
        self,
        object_id: str,
        *,
        number: int | None,
        version: VersionId | None = None,
        condition: Condition = UNCONDITIONAL,
        shares: bool = False,
    ) -> NewVersion:
        """A version of this object; `number` is from `stage`."""
        return NewVersion(
            object_id=ObjectId.parse(object_id),
            bucket=DEFAULT_BUCKET,
            manifest=self.manifest,
            content_type=CONTENT_TYPE,
            manifest_number=number,
            version=version,
            condition=condition,
            shares=shares,
        )


def upload(store: Store, object_id: str, data: bytes, *, block_bytes: int = 1024 * 1024) -> Committed:
    """Put an object the way the object service does, in blocks."""
    blocks = [data[at : at + block_bytes] for at in range(0, len(data), block_bytes)] or [b""]
    body = Upload(store, object_id=ObjectId.parse(object_id))
    for block in blocks[:-1]:
        body.write(block)
    done = commit(store, body.finish(blocks[-1], content_type=CONTENT_TYPE))
    body.close()
    return done._replace(added=body.total(done.added))


def read_range(store: Store, manifest: Manifest, start: int, stop: int) -> bytes:
    """Bytes of an object the way the object service reads them."""
    parts = [
        bytes(store.read(batch.refs)[batch.skip : batch.stop])
        for batch in batch_range(store, manifest, start, stop, lambda: BLOCK_BYTES_MAX)
    ]
    return b"".join(parts)
