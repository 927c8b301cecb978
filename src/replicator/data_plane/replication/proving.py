"""Proving that every byte of a version is here: read, and held against its digest."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from replicator.data_plane.objects.finding import find_version
from replicator.data_plane.ports import Store
from replicator.data_plane.replication.ports import Wanted
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Cancelled, Corrupt, NotFound
from replicator.kernel.manifest import ChunkRef

_BLOCK_BYTES = 1024 * 1024
_RATE_MIN_BYTES_PER_S = 1024 * 1024
_TURN_S = 24 * 3600.0
_PATIENCE_S_MAX = 100 * 24 * 3600.0


def patience_s(size_bytes: int) -> float:
    """How long another node may take to prove so many bytes, as long as it shows that it is alive.

    A mebibyte a second, for a disk that others use as well, and a day until it is their turn: it proves what others
    have asked for before, and nobody knows how much that is. At most a hundred days, whatever sizes it tells.
    """
    return min(_PATIENCE_S_MAX, _TURN_S + size_bytes / _RATE_MIN_BYTES_PER_S)


def prove(store: Store, wanted: Wanted, *, stopped: threading.Event) -> Digest:
    """The manifest of a version, once every byte that it names was read and has its digest.

    Holds about a mebibyte of it, and keeps the version from being reclaimed meanwhile.

    Raises:
        NotFound, IsDeleteMarker: there is no such version, or no longer.
        Corrupt: the manifest, a page of it or a chunk is damaged or gone.
        Cancelled: `stopped` was set.
    """
    version = find_version(store, wanted.bucket, wanted.object_id, wanted.version)
    with store.hold(f"proof of '{wanted.object_id}'") as hold:
        try:
            manifest = store.pin(version.manifest, hold)
            for entries in store.entries(manifest):
                for block in _blocks(entries):
                    if stopped.is_set():
                        raise Cancelled("the proof was stopped")
                    _prove_block(store, block)
        except NotFound as error:
            # Either the version was deleted just now, which this says, or something that it needs is lost.
            find_version(store, wanted.bucket, wanted.object_id, version.version)
            raise Corrupt(f"'{wanted.object_id}' is not whole: {error.message}", **error.data) from error
    return manifest.digest


def _prove_block(store: Store, refs: Sequence[ChunkRef]) -> None:
    content, end = store.read(refs), 0
    for ref in refs:
        start, end = end, end + ref.length
        if Digest.of(content[start:end]) != ref.digest:
            raise Corrupt(f"chunk {ref.digest} does not match its digest", digest=str(ref.digest))


def _blocks(entries: Sequence[ChunkRef]) -> Iterator[Sequence[ChunkRef]]:
    block: list[ChunkRef] = []
    size = 0
    for ref in entries:
        block.append(ref)
        size += ref.length
        if size >= _BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block
