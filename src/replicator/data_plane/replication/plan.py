"""What to fetch, and how it adds up. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer
from replicator.kernel.manifest import ChunkRef
from replicator.wire.frames import FETCH_DIGESTS_MAX


def missing(entries: Sequence[ChunkRef], lengths: Sequence[int | None]) -> list[ChunkRef]:
    """The chunks to fetch for `entries`, each once, in order.

    Args:
        lengths: of each entry's chunk here, None where it is not.

    Raises:
        BrokenPeer: the manifest gives a chunk another length than its bytes have.
    """
    wanted: dict[Digest, ChunkRef] = {}
    for ref, length in zip(entries, lengths, strict=True):
        known = length if length is not None else wanted.get(ref.digest, ref).length
        if known != ref.length:
            raise BrokenPeer(f"a manifest gives chunk {ref.digest} a wrong length", digest=str(ref.digest))
        if length is None:
            wanted.setdefault(ref.digest, ref)
    return list(wanted.values())


def batches(refs: Sequence[ChunkRef], *, bytes_max: int) -> Iterator[Sequence[ChunkRef]]:
    """`refs` in requests of about `bytes_max` bytes and at most `FETCH_DIGESTS_MAX` chunks."""
    batch: list[ChunkRef] = []
    size = 0
    for ref in refs:
        if batch and (size + ref.length > bytes_max or len(batch) == FETCH_DIGESTS_MAX):
            yield batch
            batch, size = [], 0
        batch.append(ref)
        size += ref.length
    if batch:
        yield batch


@dataclass(frozen=True, slots=True)
class Tally:
    """How far the pull of one object has come; all in bytes.

    `done` is what needs no more work, `transferred` the part of it that came over the wire and was kept,
    and `wire` all that was received for it.
    """

    logical: int = 0
    done: int = 0
    transferred: int = 0
    wire: int = 0

    @property
    def deduplicated(self) -> int:
        """What was here already, or came once and is used again."""
        return self.done - self.transferred
