"""What to fetch. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer
from replicator.kernel.manifest import ChunkRef


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
