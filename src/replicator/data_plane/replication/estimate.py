"""What a run would move, without moving it.

Exact: every manifest that is to come is fetched and held against the store, and a chunk that several objects lack
counts once. Estimated, and kept apart: what delta and compression would save, from a sample of the runs that a
pull would ask for, which is fetched as a pull would and thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from random import Random

from replicator.data_plane.ports import Store
from replicator.data_plane.replication.delta import OldManifest, pieces
from replicator.data_plane.replication.ports import Entry, Offer, Piece, Wanted
from replicator.data_plane.replication.seen import SeenDigests
from replicator.data_plane.replication.source import Source
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, Corrupt, NotFound, ReplicatorError, TooLarge
from replicator.kernel.manifest import ChunkRef, Manifest, decode_page
from replicator.kernel.names import BucketName
from replicator.wire.frames import FrameStatus
from replicator.wire.replication import WANTED_MAX
from replicator.wire.sessions import Plan

_HOLD_S = 5
_SAMPLED_MAX = 8
_FRESH_CHUNKS = 8
_WITH_CONTENT = frozenset({FrameStatus.CHUNK, FrameStatus.DELTA})


@dataclass(slots=True)
class Sample:
    """Pieces drawn evenly from all that were offered, at most `_SAMPLED_MAX`."""

    rng: Random
    bytes: int = 0
    offered: int = 0
    drawn: list[Piece] = field(default_factory=list)

    def offer(self, piece: Piece, stands_for_bytes: int) -> None:
        """Reservoir sampling (Vitter, "Random Sampling with a Reservoir", 1985, algorithm R)."""
        self.offered += 1
        self.bytes += stands_for_bytes
        if len(self.drawn) < _SAMPLED_MAX:
            self.drawn.append(piece)
        elif (slot := self.rng.randrange(self.offered)) < _SAMPLED_MAX:
            self.drawn[slot] = piece

    def saved_bytes(self, source: Source) -> int:
        """What all would save, if they are like those drawn."""
        sent = whole = 0
        for piece in self.drawn:
            for delivery in source.fetch([piece]):
                for frame in delivery.frames:
                    # One that is missing or corrupt says nothing.
                    if frame.status in _WITH_CONTENT:
                        sent += len(frame.payload)
                        whole += _length(piece.chunks[frame.first : frame.first + frame.chunks])
        return max(0, self.bytes - self.bytes * sent // whole) if whole else 0


class Estimate:
    """Adds up what the objects of a dry run lack here."""

    def __init__(self, *, store: Store, source: Source, seen: SeenDigests, rng: Random) -> None:
        self._store = store
        self._source = source
        self._seen = seen
        self._descended = Sample(rng)
        self._fresh = Sample(rng)
        self._objects = 0
        self._bytes_logical = 0
        self._bytes_lacking = 0

    def add(self, bucket: BucketName, entries: Sequence[Entry]) -> list[Entry]:
        """Count versions of the source that are to come; those that it cannot give, being corrupt, are returned.

        One that is no longer at the source is not counted.

        Raises:
            ReplicatorError: as `Source`.
        """
        corrupt = []
        asked = list(entries)
        while asked:
            some, asked = asked[:WANTED_MAX], asked[WANTED_MAX:]
            for entry, offer in zip(some, self._offers(bucket, some), strict=True):
                try:
                    self._count(bucket, entry, offer)
                except TooLarge:
                    # The reply was full.
                    asked.append(entry)
                except Corrupt:
                    corrupt.append(entry)
                except NotFound:
                    continue
        return corrupt

    def plan(
        self, *, objects_unchanged: int, objects_to_delete: int, link_bytes_per_second: float | None
    ) -> Plan:
        """All of it; fetches the sample."""
        saved = self._descended.saved_bytes(self._source) + self._fresh.saved_bytes(self._source)
        # Objects that failed half way are in the samples, and in nothing else.
        saved = min(saved, self._bytes_lacking)
        rate = link_bytes_per_second
        return Plan(
            objects_to_transfer=self._objects,
            objects_unchanged=objects_unchanged,
            objects_to_delete=objects_to_delete,
            bytes_logical=self._bytes_logical,
            bytes_lacking=self._bytes_lacking,
            bytes_deduplicated=self._bytes_logical - self._bytes_lacking,
            estimate_bytes_saved=saved,
            estimate_seconds=(self._bytes_lacking - saved) / rate if rate else None,
            link_bytes_per_second=rate,
        )

    def _offers(self, bucket: BucketName, entries: Sequence[Entry]) -> list[Offer | ReplicatorError]:
        wanted = [Wanted(bucket, entry.object_id, entry.version) for entry in entries]
        offers = self._source.offers(wanted, hold_s=_HOLD_S)
        if isinstance(offers[0], TooLarge):
            raise BrokenPeer("the source offers nothing, however often it is asked")
        return offers

    def _count(self, bucket: BucketName, entry: Entry, offer: Offer | ReplicatorError) -> None:
        if isinstance(offer, ReplicatorError):
            raise offer
        self._seen.begin_round()
        try:
            logical, lacking = self._measure(offer.manifest, self._old_manifest(bucket, entry))
        except ReplicatorError:
            self._seen.take_back()
            raise
        self._objects += 1
        self._bytes_logical += logical
        self._bytes_lacking += lacking

    def _measure(self, manifest: Manifest, old: OldManifest | None) -> tuple[int, int]:
        """The length of an object, and of it what is not here."""
        logical_bytes = lacking_bytes = 0
        for page in self._pages(manifest):
            logical_bytes += _length(page)
            lacking = self._lacking(page)
            lacking_bytes += sum(lacking.values())
            if lacking:
                self._sample(page, lacking, old)
        return logical_bytes, lacking_bytes

    def _pages(self, manifest: Manifest) -> Iterator[Sequence[ChunkRef]]:
        if not manifest.pages:
            yield manifest.entries
        for index in range(manifest.page_count):
            yield decode_page(self._source.page(manifest, index), manifest, index)

    def _lacking(self, page: Sequence[ChunkRef]) -> dict[Digest, int]:
        """The lengths of the chunks that are not here and that no object before lacked."""
        here = self._store.locate([ref.digest for ref in page], intact=True)
        absent = {ref.digest: ref.length for ref, length in zip(page, here, strict=True) if length is None}
        new = self._seen.add(absent)
        return {digest: length for digest, length in absent.items() if digest in new}

    def _old_manifest(self, bucket: BucketName, entry: Entry) -> OldManifest | None:
        """Of the version here that a pull would use as reference."""
        latest = self._store.head(bucket, entry.object_id)
        if latest is None:
            return None
        try:
            manifest = self._store.manifest(latest.manifest)
        except (NotFound, Corrupt):
            # As for a pull: what is damaged or gone here is no reference.
            return None
        return OldManifest(
            manifest, lambda index: decode_page(self._store.page(manifest, index), manifest, index)
        )

    def _sample(self, page: Sequence[ChunkRef], lacking: dict[Digest, int], old: OldManifest | None) -> None:
        found = _against(old, page, lacking)
        if found is None:
            some = [ChunkRef(*each) for each in islice(lacking.items(), _FRESH_CHUNKS)]
            self._fresh.offer(Piece(some), sum(lacking.values()))
            return
        for piece in found:
            sample = self._descended if piece.references else self._fresh
            sample.offer(piece, _length(piece.chunks))


def _against(
    old: OldManifest | None, page: Sequence[ChunkRef], lacking: Mapping[Digest, int]
) -> list[Piece] | None:
    """What a pull would fetch for `page`; None without an earlier version, or where it cannot be read here."""
    if old is None:
        return None
    try:
        return pieces(page, lacking.keys(), old)
    except (NotFound, Corrupt):
        return None


def _length(chunks: Sequence[ChunkRef]) -> int:
    return sum(ref.length for ref in chunks)
