"""Fills a store's catalog with the rows of objects that nobody uploaded.

Every row is what the store itself would have written, digests and references included; only the bytes of the
chunks are missing, and the segments that would hold them are files with a header and a hole behind it. Rows go
to the catalog in large batches, unordered as digests are, so its files get the shape that years of uploads give
them.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.growth.bulk import BulkRows
from benchmarks.growth.sizes import Size
from replicator.data_plane.ports import Version
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.record import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    encode_segment_header,
)
from replicator.data_plane.storage.rows import Location, ManifestRow, Place
from replicator.kernel.chunker import DEFAULT_CHUNKING
from replicator.kernel.digest import DIGEST_BYTES, Digest
from replicator.kernel.manifest import ChunkRef, Manifest
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.kernel.version import VersionClock

SEGMENT_BYTES = 512 * 1024 * 1024
SMALL_CHUNK_BYTES = 4 * 1024
LARGE_CHUNK_BYTES = 64 * 1024
LARGE_OBJECT_CHUNKS = 1000
CROWDED_PREFIX = "data/"
"""Nearly every object is below it, in one of 4,096 groups."""

_CHUNKS_PER_BATCH = 2000
_BATCHES_PER_MESSAGE = 500
_ENTRY_BYTES = 36
_BLANK = Digest(bytes(DIGEST_BYTES))
_EMPTY = Manifest(DEFAULT_CHUNKING, 0, 0)


def crowded_name(source: random.Random) -> str:
    """The name of an object in one of the groups below the crowded prefix."""
    bits = source.getrandbits(60)
    return f"{CROWDED_PREFIX}{bits >> 48:03x}/{bits & 0xFFFFFFFFFFFF:012x}"


def fill(folder: Path, before: Size, after: Size, say: Callable[[str], None]) -> None:
    """Grow the store in `folder`, which nobody has open, from one size to another."""
    small = after.objects - before.objects
    large = (after.chunks - before.chunks - small) // LARGE_OBJECT_CHUNKS
    with BulkRows(str(folder / "catalog")) as bulk:
        filling = _Filling(bulk, folder / "segments", seed=after.chunks)
        for count, chunks_each, chunk_bytes in (
            (small, 1, SMALL_CHUNK_BYTES),
            (large, LARGE_OBJECT_CHUNKS, LARGE_CHUNK_BYTES),
        ):
            per_batch = max(1, _CHUNKS_PER_BATCH // chunks_each)
            for start in range(0, count, per_batch):
                if start // per_batch % _BATCHES_PER_MESSAGE == 0:
                    say(f"filling up to {after}: {start * chunks_each:,} of {count * chunks_each:,} chunks")
                filling.add_objects(min(per_batch, count - start), chunks_each, chunk_bytes)
        filling.finish()
        say(f"filling up to {after}: compacting")


class _Filling:
    def __init__(self, bulk: BulkRows, segments: Path, *, seed: int) -> None:
        self._bulk = bulk
        self._random = random.Random(seed)
        counters = rows.decode_counters(bulk.get("meta", rows.COUNTERS_KEY))
        stamp, self._manifest_number, self._lsn = counters
        self._clock = VersionClock("node1", stamp)
        self._log = _HollowLog(segments, rows.decode_store_row(bulk.get("meta", rows.STORE_KEY))[1], bulk)

    def add_objects(self, count: int, chunks_each: int, chunk_bytes: int) -> None:
        """One batch of objects that have `chunks_each` chunks of their own."""
        root = _root_head(chunks_each, chunk_bytes)
        length = chunk_bytes.to_bytes(4)
        for _ in range(count):
            self._manifest_number += 1
            taken = self._random.randbytes(chunks_each * DIGEST_BYTES)
            digests = [taken[at : at + DIGEST_BYTES] for at in range(0, len(taken), DIGEST_BYTES)]
            self._put_chunks(digests, chunk_bytes)
            self._put_object(root + length.join([*digests, b""]), chunks_each, chunk_bytes)
        counters = rows.encode_counters(self._clock.stamp, self._manifest_number, self._lsn)
        self._bulk.put("meta", rows.COUNTERS_KEY, counters)
        self._bulk.write()

    def finish(self) -> None:
        """End the last segment, so that the store goes on in one of its own."""
        self._log.end()
        self._bulk.write()

    def _put_chunks(self, digests: Sequence[bytes], chunk_bytes: int) -> None:
        record_bytes = RECORD_HEADER_BYTES + chunk_bytes
        segment, start = self._log.take(record_bytes * len(digests))
        behind_digest = rows.chunk_ref_key(_BLANK, self._manifest_number)[DIGEST_BYTES:]
        put = self._bulk.put
        for index, digest in enumerate(digests):
            location = Location(segment, start + index * record_bytes, chunk_bytes, chunk_bytes)
            put("chunks", digest, rows.encode_location(location))
            put("chunks", digest + behind_digest, b"")

    def _put_object(self, root: bytes, chunks_each: int, chunk_bytes: int) -> None:
        digest = Digest(hashlib.sha256(root).digest())
        version_id = self._clock.next(0)
        name = ObjectId(crowded_name(self._random))
        place = self._log.take(2 * RECORD_HEADER_BYTES + len(root) + len(name))
        head = rows.encode_manifest_row(ManifestRow(self._manifest_number, place, 0, _EMPTY))
        self._bulk.put("manifests", digest, head[: -len(_EMPTY.encoded)] + root)
        self._bulk.put("manifests", rows.manifest_ref_key(digest, version_id), b"")
        version = Version(
            bucket=DEFAULT_BUCKET,
            object_id=name,
            version=version_id,
            manifest=digest,
            size=chunks_each * chunk_bytes,
            chunk_count=chunks_each,
            content_type="application/octet-stream",
            null=True,
        )
        self._put_version(version, rows.encode_version_row(version, place))

    def _put_version(self, version: Version, row: bytes) -> None:
        self._lsn += 1
        key = rows.object_prefix(version.bucket, version.object_id)
        of_version = rows.version_key(version.bucket, version.object_id, version.version)
        self._bulk.put("versions", of_version, row)
        self._bulk.put("heads", key, version.version + row)
        self._bulk.put("nulls", key, version.version)


class _HollowLog:
    """Gives out places in segments whose bytes are a hole."""

    def __init__(self, folder: Path, store_id: bytes, bulk: BulkRows) -> None:
        self._folder = folder
        self._store_id = store_id
        self._bulk = bulk
        self._number = 1 + max(int(path.stem) for path in folder.iterdir())
        self._end = SEGMENT_HEADER_BYTES

    def take(self, length: int) -> Place:
        """Where records of `length` bytes together would be."""
        if self._end + length > SEGMENT_BYTES:
            self.end()
        place = Place(self._number, self._end)
        self._end += length
        return place

    def end(self) -> None:
        """Make the file, of full length so that nothing is appended to it, and go on to the next."""
        with (self._folder / f"{self._number:08d}.segment").open("xb") as file:
            file.write(encode_segment_header(self._number, self._store_id))
            file.flush()
            os.truncate(file.fileno(), SEGMENT_BYTES)
        row = rows.encode_segment_row(SEGMENT_BYTES, SEGMENT_BYTES - SEGMENT_HEADER_BYTES)
        self._bulk.put("meta", rows.segment_key(self._number), row)
        self._number += 1
        self._end = SEGMENT_HEADER_BYTES


def _root_head(chunk_count: int, chunk_bytes: int) -> bytes:
    """A manifest of so many chunks up to its first entry."""
    entries = (ChunkRef(_BLANK, chunk_bytes),) * chunk_count
    manifest = Manifest(DEFAULT_CHUNKING, chunk_count * chunk_bytes, chunk_count, entries=entries)
    return manifest.encoded[: -_ENTRY_BYTES * chunk_count]
