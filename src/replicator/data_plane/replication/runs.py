"""The pieces of a pull as the machine queues them, and for whom they travel. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from replicator.data_plane.replication.ports import Piece
from replicator.kernel.manifest import ChunkRef


@dataclass(slots=True, eq=False)
class Part:
    """How far one owner has come, in bytes. What comes for it after it was settled still counts.

    Attributes:
        left: chunks that are still to come.
        arrived: of the chunks wanted.
        transferred: of these, what travelled for this owner.
        saved: of these, what delta and compression kept off the wire.
    """

    owner: int
    left: int = 0
    arrived: int = 0
    transferred: int = 0
    saved: int = 0
    is_settled: bool = False


class Run(NamedTuple):
    """Chunks that are asked for together: one, or several that have references."""

    chunks: Sequence[ChunkRef]
    references: Sequence[ChunkRef]
    length: int


def runs_of(refs: Sequence[ChunkRef], references: Sequence[ChunkRef]) -> Iterator[Run]:
    """A run of all of `refs` where there are references, else each by itself."""
    if references and refs:
        yield Run(refs, references, sum(ref.length for ref in refs))
    elif not references:
        for ref in refs:
            yield Run((ref,), (), ref.length)


def pieces_of(runs: Sequence[Run]) -> list[Piece]:
    """The pieces of a request: chunks without references next to each other are one."""
    pieces: list[Piece] = []
    plain: list[ChunkRef] = []
    for run in runs:
        if not run.references:
            plain += run.chunks
            continue
        if plain:
            pieces.append(Piece(plain))
            plain = []
        pieces.append(Piece(run.chunks, run.references))
    return [*pieces, Piece(plain)] if plain else pieces


def credit(travelled: dict[Part, int], saved_bytes: int, total: int) -> None:
    """Count the `total` bytes for whom they travelled, and their share of `saved_bytes` with them."""
    rest = saved_bytes
    for part, length in travelled.items():
        saved = min(rest, -(-saved_bytes * length // total))
        part.transferred += length
        part.saved += saved
        rest -= saved
