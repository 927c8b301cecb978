"""Reading the data of both sides of a survey."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from replicator.data_plane.ports import Store
from replicator.data_plane.replication.compare import Pair
from replicator.data_plane.replication.ports import Entry, Wanted
from replicator.data_plane.replication.proving import prove
from replicator.data_plane.replication.source import Source
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt, NotFound, ReplicatorError
from replicator.kernel.names import BucketName

CorruptFinding = tuple[int, Literal["corrupt-at-source", "corrupt-at-destination"], Entry]
"""Which pair, where, and the version that is damaged there."""


class Proofs:
    """Has every byte of some versions read on both sides at the same time."""

    def __init__(self, store: Store, source: Source) -> None:
        self._store = store
        self._source = source

    def corrupt(self, bucket: BucketName, pairs: Sequence[Pair]) -> Iterator[CorruptFinding]:
        """Those of `pairs` that cannot be read whole; one that is gone by now is no finding.

        Args:
            pairs: at most 256.

        Raises:
            ReplicatorError: the source, or the store here, cannot say.
        """
        there = [(index, pair.source) for index, pair in enumerate(pairs) if pair.source is not None]
        here = [(index, pair.destination) for index, pair in enumerate(pairs) if pair.destination is not None]
        with ThreadPoolExecutor(1, "prove") as threads:
            own = threads.submit(self._prove_own, bucket, [entry for _, entry in here])
            wanted = [Wanted(bucket, entry.object_id, entry.version) for _, entry in there]
            size_bytes = sum(entry.size for _, entry in there)
            theirs = self._source.prove(wanted, size_bytes=size_bytes) if wanted else []
        for (index, entry), proof in zip(there, theirs, strict=True):
            if _is_corrupt(entry, proof):
                yield index, "corrupt-at-source", entry
        for (index, entry), proof in zip(here, own.result(), strict=True):
            if _is_corrupt(entry, proof):
                yield index, "corrupt-at-destination", entry

    def _prove_own(self, bucket: BucketName, entries: Sequence[Entry]) -> list[Digest | ReplicatorError]:
        return [self._prove_one(bucket, entry) for entry in entries]

    def _prove_one(self, bucket: BucketName, entry: Entry) -> Digest | ReplicatorError:
        try:
            return prove(
                self._store,
                Wanted(bucket, entry.object_id, entry.version),
                stopped=self._source.stopped,
            )
        except (NotFound, Corrupt) as error:
            return error


def _is_corrupt(entry: Entry, proof: Digest | ReplicatorError) -> bool:
    """Raises what is neither damage nor absence."""
    if isinstance(proof, Digest):
        return proof != entry.manifest
    if isinstance(proof, NotFound):
        return False
    if isinstance(proof, Corrupt):
        return True
    raise proof
