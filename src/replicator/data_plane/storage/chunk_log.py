"""Chunks between the moment they are appended and the moment the catalog knows them.

`add` looks a chunk up, appends it and remembers where, all under one lock: so a chunk is stored once however
many writers bring it at the same time. What was appended since the last commit is *pending*: readable, but
neither durable nor in the catalog. The committer seals what is pending, syncs, writes the rows, and only
then forgets it here, so a look-up (pending first, catalog second) always finds it.

A chunk whose record failed its check is *damaged* until a read of it succeeds: it counts as absent when it is
brought again, so that the next good copy takes its place. That outlives the process by a row in the catalog.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from replicator.data_plane.ports import Added
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import Catalog
from replicator.data_plane.storage.rows import Location, decode_location
from replicator.data_plane.storage.segment import Segments
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt, NotFound, StoreFailed

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Sealed(NamedTuple):
    """What a commit makes durable: chunks, and the lengths that cover them by segment."""

    chunks: dict[Digest, Location]
    lengths: dict[int, int]


class ChunkLog:
    """Adds, finds and reads chunks. Thread-safe."""

    def __init__(
        self, segments: Segments, catalog: Catalog, *, on_failure: Callable[[StoreFailed], None]
    ) -> None:
        self._on_failure = on_failure
        self._segments = segments
        self._catalog = catalog
        self._lock = threading.Lock()
        self._pending: dict[Digest, Location] = {}
        self._sealed: dict[Digest, Location] = {}
        self._recorded = {rows.damaged_digest(key) for key, _ in catalog.scan("meta", rows.DAMAGED_PREFIX)}
        self._damaged = set(self._recorded)
        self._failure: StoreFailed | None = None

    def add(self, chunks: Sequence[tuple[Digest, Buffer]]) -> list[bool]:
        """Append the chunks that are not here yet; says for each whether it was new."""
        with self._lock:
            self.require_writable()
            found = self._find([digest for digest, _ in chunks], intact=True)
            known = {digest for digest, place in found.items() if place}
            new: dict[Digest, Buffer] = {}
            flags = []
            for digest, payload in chunks:
                flags.append(digest not in known)
                if digest not in known:
                    known.add(digest)
                    new[digest] = payload
            if new:
                self._append(new)
            return flags

    def find(self, digests: Sequence[Digest], *, intact: bool = False) -> dict[Digest, Location | None]:
        """Where each chunk is, None for those that are not here; with `intact` also for damaged ones.

        Needs no lock, so that readers do not wait for a writer: what leaves `pending` is in `sealed` before,
        what leaves `sealed` is in the catalog before, and they are asked in that order.
        """
        return self._find(digests, intact=intact)

    @property
    def has_damage(self) -> bool:
        """Whether any chunk is damaged."""
        return bool(self._damaged)

    def read(self, digests: Sequence[Digest], *, wait: bool, gap: int) -> memoryview:
        """The chunks one after the other; see `ChunkReader.read`."""
        found = self.find(digests) if self._pending or self._sealed else self._look_up(digests)
        wanted = []
        for digest in digests:
            location = found[digest]
            if location is None:
                raise NotFound(f"chunk {digest} is not on this node", digest=str(digest))
            wanted.append((digest, location))
        try:
            block = self._segments.read(wanted, wait=wait, gap=gap)
        except Corrupt as error:
            self._set_damaged(dict(wanted), error)
            raise
        if self._damaged:
            self._damaged.difference_update(digests)
        return block

    def to_record(self, digest: Digest) -> bool:
        """Whether the catalog has yet to learn that the chunk is damaged; True once."""
        with self._lock:
            if digest not in self._damaged or digest in self._recorded:
                return False
            self._recorded.add(digest)
            return True

    def to_clear(self, chunks: Iterable[Digest]) -> set[Digest]:
        """Those of the chunks, all of them new and good, that the catalog has as damaged; each once."""
        with self._lock:
            cleared = self._recorded.intersection(chunks)
            self._recorded -= cleared
            return cleared

    def seal(self) -> Sealed:
        """Take what is pending and make its bytes durable. `forget` follows once the catalog has it."""
        with self._lock:
            self._sealed = self._pending
            self._pending = {}
            sealed = Sealed(self._sealed, self._segments.unsynced())
        self._segments.sync(list(sealed.lengths))
        return sealed

    def forget(self) -> None:
        """The catalog has what was sealed last."""
        with self._lock:
            self._sealed = {}

    def fail(self, failure: StoreFailed) -> None:
        """Take no more writes: `failure` says why, and is announced once."""
        if self._failure is None:
            self._failure = failure
            self._on_failure(failure)

    def require_writable(self) -> None:
        """Raises `StoreFailed` after `fail`."""
        if self._failure is not None:
            raise StoreFailed(self._failure.message) from self._failure

    def _append(self, new: dict[Digest, Buffer]) -> None:
        try:
            locations = self._segments.append(list(new.items()))
        except StoreFailed as failure:
            self.fail(failure)
            raise
        self._pending.update(zip(new, locations, strict=True))
        self._damaged.difference_update(new)

    def _find(self, digests: Sequence[Digest], *, intact: bool = False) -> dict[Digest, Location | None]:
        found: dict[Digest, Location | None] = {}
        unknown = []
        for digest in digests:
            place = self._pending.get(digest) or self._sealed.get(digest)
            found[digest] = place
            if place is None:
                unknown.append(digest)
        found.update(self._look_up(unknown))
        if intact and self._damaged:
            found.update(dict.fromkeys(self._damaged.intersection(digests)))
        return found

    def _set_damaged(self, read: dict[Digest, Location], error: Corrupt) -> None:
        digest = Digest.parse(error.data["digest"])
        with self._lock:
            # A good copy may have come since this one was looked up.
            if self._find([digest])[digest] == read[digest]:
                self._damaged.add(digest)

    def _look_up(self, digests: Sequence[Digest]) -> dict[Digest, Location | None]:
        found = self._catalog.get_many("chunks", digests)
        return {
            digest: decode_location(row) if row is not None else None
            for digest, row in zip(digests, found, strict=True)
        }


def total(flags: Sequence[bool], chunks: Sequence[tuple[Digest, Buffer]]) -> Added:
    """What the new ones among `chunks` come to."""
    lengths = [len(memoryview(payload)) for is_new, (_, payload) in zip(flags, chunks, strict=True) if is_new]
    return Added(len(lengths), sum(lengths))
