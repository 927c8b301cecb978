"""The log: chunks and entries between the moment they are appended and the moment the catalog knows them.

`add` looks a chunk up, appends it and remembers where, all under one lock: so a chunk is stored once however
many writers bring it at the same time. What was appended since the last commit is *pending*: readable, but
neither durable nor in the catalog. The committer appends a group's entries and inline chunks in one write,
seals what is pending, syncs, writes the rows, and only then forgets it here, so a look-up (pending first,
catalog second) always finds it.

What a hold names is not dropped (`holds`). Whoever brings a chunk names it before the lock is given back, whoever
looks for one names it before he looks, and what is dropped counts as absent from the moment it is decided.

A chunk whose record failed its check is *damaged* until a read of it succeeds: it counts as absent when it is
brought again, so that the next good copy takes its place. That outlives the process by a row in the catalog.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from replicator.data_plane.ports import Added, Hold
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import Catalog
from replicator.data_plane.storage.codec import ChunkCompressor, Encoded
from replicator.data_plane.storage.holds import Holds
from replicator.data_plane.storage.record import (
    CODEC_NONE,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    encode_record_header,
)
from replicator.data_plane.storage.rows import Location, Place, decode_location
from replicator.data_plane.storage.segment import SegmentGone, Segments
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt, NotFound, StoreFailed

if TYPE_CHECKING:
    from typing_extensions import Buffer

_FRESH_MAX = 16_384
_LOOK_UPS_MAX = 4


class Sealed(NamedTuple):
    """What a commit makes durable.

    Attributes:
        replacing: those of the chunks that the catalog may know in another place.
        ends: where the segments end behind them; only the greatest may grow on.
    """

    chunks: dict[Digest, Location]
    replacing: frozenset[Digest]
    ends: dict[int, int]


class ChunkLog:
    """Adds, finds and reads chunks. Thread-safe. Without a `compressor` new chunks are stored as they are."""

    def __init__(
        self,
        segments: Segments,
        catalog: Catalog,
        *,
        on_failure: Callable[[StoreFailed], None],
        compressor: ChunkCompressor | None = None,
    ) -> None:
        self._on_failure = on_failure
        self._compressor = compressor
        self._segments = segments
        self._catalog = catalog
        self._lock = threading.Lock()
        self._pending: dict[Digest, Location] = {}
        self._sealed: dict[Digest, Location] = {}
        self._fresh: dict[Digest, None] = {}
        self._replacing: set[Digest] = set()
        self._holds = Holds()
        marks = dict(catalog.scan("meta", rows.DAMAGED_PREFIX))
        self._recorded = {rows.damaged_digest(key) for key in marks}
        self._damaged = set(self._recorded)
        self._wrong = {rows.damaged_digest(key) for key, row in marks.items() if rows.decode_damaged_row(row)}
        self._failure: StoreFailed | None = None

    def hold(self, purpose: str) -> Hold:
        """See `Store.hold`."""
        return self._holds.hold(purpose)

    def pin(self, manifest: Digest, hold: Hold) -> None:
        """Keep a manifest from being retired."""
        self._holds.pin(manifest, hold)

    def retirable(self, manifest: Digest) -> bool:
        """Whether nobody has pinned the manifest; nobody can from now on until `forget`. Under the lock."""
        return self._holds.retire(manifest)

    def holds(self) -> list[Hold]:
        """Those that are not closed."""
        return self._holds.all()

    def add(self, chunks: Sequence[tuple[Digest, Buffer]], hold: Hold | None = None) -> list[bool]:
        """Append the chunks that are not here yet; says for each whether it was new."""
        encoded = self._compress(chunks)
        with self._lock, self._watched():
            self.require_writable()
            tail = Tail(self, self._segments, encoded)
            flags = tail.add(chunks)
            if tail.length:
                self._segments.require_room(tail.length)
                tail.write()
            if hold is not None:
                self._holds.keep([digest for digest, _ in chunks], hold)
            return flags

    @contextmanager
    def appending(self, chunks: Sequence[tuple[Digest, Buffer]]) -> Iterator[Tail]:
        """The end of the log, for the committer, who is about to add `chunks`: nobody else appends meanwhile.

        What it was given and has not written at the end is forgotten.
        """
        encoded = self._compress(chunks)
        with self._lock, self._watched():
            self.require_writable()
            # What a group wanted to drop that was not written then is here as before.
            self._holds.settle()
            yield Tail(self, self._segments, encoded)

    def find(
        self, digests: Sequence[Digest], *, intact: bool = False, hold: Hold | None = None
    ) -> dict[Digest, Location | None]:
        """Where each chunk is, None for those that are not here; with `intact` also for damaged ones.

        Needs no lock, so that readers do not wait for a writer: what leaves `pending` is in `sealed` before, what
        leaves `sealed` is in the catalog before, and they are asked in that order. A hold names the chunks
        before they are looked for: what is found then stays.
        """
        if hold is None:
            return self.look(digests, intact=intact)
        new = self._holds.keep(digests, hold)
        found = self.look(digests, intact=intact)
        hold.chunks.difference_update(digest for digest in new if found[digest] is None)
        return found

    def require_room(self, length: int) -> None:
        """Raises `QuotaExceeded` where `length` bytes more would not leave the reserve."""
        self._segments.require_room(length)

    @property
    def damaged(self) -> frozenset[Digest]:
        """The chunks that are damaged."""
        with self._lock:
            return frozenset(self._damaged)

    def read(self, digests: Sequence[Digest], *, wait: bool, gap: int) -> memoryview:
        """The chunks one after the other; see `ChunkReader.read`."""
        self._require_right(digests)
        for last in range(_LOOK_UPS_MAX):
            found = self.look(digests) if self._pending or self._sealed else self._look_up(digests)
            wanted = [(digest, _require(digest, found[digest])) for digest in digests]
            try:
                block = self._segments.read(wanted, wait=wait, gap=gap)
            except SegmentGone:
                # Compaction has moved the chunk since it was looked up.
                if last == _LOOK_UPS_MAX - 1:
                    raise
                continue
            except Corrupt as error:
                self._set_damaged(dict(wanted), error)
                raise
            if self._damaged and not self._damaged.isdisjoint(digests):
                self._set_intact(digests)
            return block
        raise AssertionError("the loop returns or raises")

    def mark_damaged(self, digest: Digest, location: Location, *, wrong: bool = False) -> bool:
        """The record at `location` failed a check. Says whether it is the one that holds the chunk.

        Args:
            wrong: it is whole but holds other bytes than the digest names, which a read would not notice: it is
                not read any more.
        """
        with self._lock:
            # A good copy may have come since this one was looked up.
            if self.look([digest])[digest] != location:
                return False
            self._damaged.add(digest)
            if wrong:
                self._wrong.add(digest)
            return True

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

    def sync(self, sealed: Sealed) -> None:
        """Make what was sealed durable. `forget` follows once the catalog has it."""
        if sealed.ends:
            self._segments.sync(max(sealed.ends))

    def forget(self) -> None:
        """The catalog has what was sealed and dropped last."""
        with self._lock:
            self._sealed = {}
            dropped = self._holds.dropped
            self._damaged -= dropped
            self._wrong -= dropped
            self._recorded -= dropped
            self._holds.settle()

    def roll(self) -> None:
        """Begin another segment; the one before does not grow any more."""
        with self._lock, self._watched():
            self.require_writable()
            self._segments.roll()

    @contextmanager
    def standstill(self) -> Iterator[list[int]]:
        """Nothing is appended meanwhile. Gives the segments: all of them are durable, and those that hold
        anything do not grow any more.

        The catalog, as it is meanwhile, names nothing outside of them.
        """
        with self._lock, self._watched():
            self.require_writable()
            ended = self._segments.numbers
            if self._segments.end.offset > SEGMENT_HEADER_BYTES:
                self._segments.roll()
            yield ended

    def remove_segment(self, number: int) -> None:
        """Delete a segment that the catalog no longer names, durably; raises `StoreFailed`."""
        with self._watched():
            self.require_writable()
            self._segments.remove(number)

    def fail(self, failure: StoreFailed) -> None:
        """Take no more writes: `failure` says why, and is announced once."""
        if self._failure is None:
            self._failure = failure
            self._on_failure(failure)

    def require_writable(self) -> None:
        """Raises `StoreFailed` after `fail`."""
        if self._failure is not None:
            raise StoreFailed(self._failure.message) from self._failure

    def look(self, digests: Sequence[Digest], *, intact: bool = False) -> dict[Digest, Location | None]:
        """See `find`; takes no lock."""
        found: dict[Digest, Location | None] = {}
        unknown = []
        for digest in digests:
            place = self._pending.get(digest) or self._sealed.get(digest)
            found[digest] = place
            if place is None:
                unknown.append(digest)
        if unknown:
            found.update(self._look_up(unknown))
        if intact and self._damaged:
            found.update(dict.fromkeys(self._damaged.intersection(digests)))
        return found

    def is_fresh(self, digest: Digest) -> bool:
        """Whether the chunk is known to have no reference yet; under the lock."""
        return digest in self._fresh

    def set_referenced(self, digests: Iterable[Digest]) -> None:
        """Something refers to these chunks now; under the lock."""
        for digest in digests:
            self._fresh.pop(digest, None)

    def droppable(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those that nobody holds; they count as absent until `forget`. Under the lock."""
        free = self._holds.drop(digests)
        self.set_referenced(free)
        return free

    def damaged_among(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those of the chunks that are damaged; under the lock."""
        return self._damaged.intersection(digests) if self._damaged else set()

    def take(self, appended: dict[Digest, Location], replacing: set[Digest]) -> None:
        """Chunks that a tail has written; under the lock."""
        self._pending.update(appended)
        self._damaged.difference_update(appended)
        self._wrong.difference_update(appended)
        self._replacing |= replacing
        self._fresh.update(dict.fromkeys(digest for digest in appended if digest not in replacing))
        while len(self._fresh) > _FRESH_MAX:
            del self._fresh[next(iter(self._fresh))]

    def seal(self) -> Sealed:
        """Take what is pending; under the lock."""
        self._sealed = self._pending
        self._pending = {}
        replacing, self._replacing = frozenset(self._replacing), set()
        return Sealed(self._sealed, replacing, self._segments.take_ends())

    def _compress(self, chunks: Sequence[tuple[Digest, Buffer]]) -> dict[Digest, Encoded]:
        """Those that are not here, where compressing pays. It takes long, and so no lock."""
        compressor = self._compressor
        if compressor is None or not compressor.is_promising([payload for _, payload in chunks]):
            return {}
        found = self.look([digest for digest, _ in chunks], intact=True)
        return {digest: compressor.encode(payload) for digest, payload in chunks if found[digest] is None}

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except StoreFailed as failure:
            self.fail(failure)
            raise

    def _require_right(self, digests: Sequence[Digest]) -> None:
        wrong = self._wrong.intersection(digests) if self._wrong else None
        if wrong:
            digest = min(wrong)
            raise Corrupt(
                f"chunk {digest} was stored with other bytes than its digest names", digest=str(digest)
            )

    def _set_intact(self, digests: Sequence[Digest]) -> None:
        with self._lock:
            # The scrub may have found since that what reads well is not what it should be.
            self._damaged -= set(digests) - self._wrong

    def _set_damaged(self, read: dict[Digest, Location], error: Corrupt) -> None:
        digest = Digest.parse(error.data["digest"])
        self.mark_damaged(digest, read[digest])

    def _look_up(self, digests: Sequence[Digest]) -> dict[Digest, Location | None]:
        # Before the catalog is asked: once it has forgotten them, they are not in here any more.
        dropped = self._holds.dropped
        found = self._catalog.get_many("chunks", digests)
        return {
            digest: decode_location(row) if row is not None and digest not in dropped else None
            for digest, row in zip(digests, found, strict=True)
        }


class Tail:
    """What is about to be appended in one write. Used under the lock of its log."""

    def __init__(self, log: ChunkLog, segments: Segments, encoded: Mapping[Digest, Encoded]) -> None:
        self._log = log
        self._segments = segments
        self._encoded = encoded
        self._buffers: list[Buffer] = []
        self._chunks: dict[Digest, Location] = {}
        self._replacing: set[Digest] = set()
        self._referenced: set[Digest] = set()
        self._found: set[Digest] = set()
        self._start: Place | None = None
        self.length = 0

    def add(self, chunks: Sequence[tuple[Digest, Buffer]]) -> list[bool]:
        """Append the chunks that are not here or damaged; says for each whether it was new."""
        digests = [digest for digest, _ in chunks]
        found = self._log.look(digests)
        self._found.update(digests)
        damaged = self._log.damaged_among(digests)
        flags = []
        for digest, payload in chunks:
            is_new = digest not in self._chunks and (found[digest] is None or digest in damaged)
            flags.append(is_new)
            if is_new:
                self._chunks[digest] = self._chunk(digest, payload)
        self._replacing |= damaged
        return flags

    def _chunk(self, digest: Digest, payload: Buffer) -> Location:
        codec, stored = self._encoded.get(digest) or Encoded(CODEC_NONE, payload)
        raw_length = len(memoryview(payload))
        place = self.record(encode_record_header(digest, stored, codec=codec, raw_length=raw_length), stored)
        return Location(*place, len(memoryview(stored)), raw_length, codec)

    def move(self, digest: Digest, header: Buffer, payload: Buffer, location: Location) -> Location:
        """Append the record of a chunk that lives at `location` once more, as it is; returns its new place."""
        place = self.record(header, payload)
        moved = location._replace(segment=place.segment, offset=place.offset)
        self._chunks[digest] = moved
        self._replacing.add(digest)
        return moved

    def record(self, header: Buffer, payload: Buffer) -> Place:
        """Append a record as it is; returns where it will be."""
        if self._start is None:
            self._start = self._segments.begin()
        place = Place(self._start.segment, self._start.offset + self.length)
        self._buffers += (header, payload)
        self.length += RECORD_HEADER_BYTES + len(memoryview(payload))
        return place

    def look(self, digests: Sequence[Digest]) -> dict[Digest, Location | None]:
        """Where each chunk is, those of this tail included."""
        found: dict[Digest, Location | None] = {}
        unknown = []
        for digest in digests:
            place = found[digest] = self._chunks.get(digest)
            if place is None:
                unknown.append(digest)
        if unknown:
            found.update(self._log.look(unknown))
        return found

    def droppable(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those that nobody holds, and that the group does not bring; they count as absent from now on."""
        return self._log.droppable(digest for digest in digests if digest not in self._found)

    def retirable(self, manifest: Digest) -> bool:
        """Whether nobody has pinned the manifest; nobody can from now on."""
        return self._log.retirable(manifest)

    def damaged_among(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those of the chunks that are damaged."""
        return self._log.damaged_among(digests)

    def is_fresh(self, digest: Digest) -> bool:
        """Whether the chunk is known to have no reference yet."""
        return self._log.is_fresh(digest) or (digest in self._chunks and digest not in self._replacing)

    def set_referenced(self, digests: Iterable[Digest]) -> None:
        """Something refers to these chunks now."""
        self._referenced.update(digests)
        self._log.set_referenced(digests)

    def write(self) -> None:
        """Write all of it. Raises `QuotaExceeded` and then nothing of it counts, `StoreFailed`."""
        if self.length:
            self._segments.write(self._buffers, self.length)
        self._log.take(self._chunks, self._replacing)
        self._log.set_referenced(self._referenced)


def _require(digest: Digest, location: Location | None) -> Location:
    if location is None:
        raise NotFound(f"chunk {digest} is not on this node", digest=str(digest))
    return location


def total(flags: Sequence[bool], chunks: Sequence[tuple[Digest, Buffer]]) -> Added:
    """What the new ones among `chunks` come to."""
    lengths = [len(memoryview(payload)) for is_new, (_, payload) in zip(flags, chunks, strict=True) if is_new]
    return Added(len(lengths), sum(lengths))
