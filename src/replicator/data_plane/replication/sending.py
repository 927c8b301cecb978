"""The answer to a fetch, made in steps of about a block each.

Chunks go as they are, in frames of their own, but for two cases: a piece with references goes as one delta
where all of it is here and that is shorter, and a single chunk compressed where the other side allows it and
that is shorter. Whatever stands in the way of either, be it a reference that is gone or damaged here, costs
bytes on the wire and nothing else. Frames are always in the order asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from replicator.data_plane.ports import ChunkReader
from replicator.data_plane.replication.encode import compress_chunk, encode_delta
from replicator.data_plane.replication.messages.replies import Sent
from replicator.data_plane.replication.messages.requests import FetchAsked
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt, NotFound
from replicator.kernel.manifest import ChunkRef
from replicator.wire.frames import DELTA_BYTES_MAX, Codec, FrameStatus

Lengths = dict[Digest, int | None]
"""Of chunks, in bytes; None where the chunk is not here."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Chunks that are here, each for a frame of its own."""

    refs: Sequence[ChunkRef]


@dataclass(frozen=True, slots=True)
class Absent:
    """Chunks that are not here; their lengths are 0."""

    refs: Sequence[ChunkRef]


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece to send as a delta against its references; all of both are here."""

    refs: Sequence[ChunkRef]
    references: Sequence[ChunkRef]


Step = Plain | Absent | Delta


class Made(NamedTuple):
    """The frames of a step; with `corrupt`, the last one says so and nothing may follow."""

    frames: list[Sent]
    corrupt: Corrupt | None = None


def asked_digests(asked: FetchAsked) -> list[Digest]:
    """Every chunk and reference that a request names, each once."""
    named = (digests for piece in asked.pieces for digests in (piece.chunks, piece.references))
    return list(dict.fromkeys(digest for digests in named for digest in digests))


def steps(asked: FetchAsked, lengths: Lengths, block_bytes: Callable[[], int]) -> Iterator[Step]:
    """What to send, in order, in steps of about `block_bytes()`; a delta is one step.

    Args:
        lengths: of all that the request names.
    """
    plain: list[Digest] = []
    for piece in asked.pieces:
        delta = _delta(_located(piece.chunks, lengths), _located(piece.references, lengths))
        if delta is None:
            plain += piece.chunks
        else:
            yield from plain_steps(plain, lengths, block_bytes)
            yield delta
            plain = []
    yield from plain_steps(plain, lengths, block_bytes)


def plain_steps(
    digests: Sequence[Digest], lengths: Lengths, block_bytes: Callable[[], int]
) -> Iterator[Plain | Absent]:
    """The same for chunks that go by themselves."""
    run: list[ChunkRef] = []
    size = 0
    is_here = True
    for digest in digests:
        length = lengths[digest]
        if run and (is_here != (length is not None) or size >= block_bytes()):
            yield Plain(run) if is_here else Absent(run)
            run, size = [], 0
        is_here = length is not None
        run.append(ChunkRef(digest, length or 0))
        size += length or 0
    if run:
        yield Plain(run) if is_here else Absent(run)


def make(store: ChunkReader, step: Step, *, compress: bool) -> Made:
    """The frames of one step. Blocking, with much work for the processor.

    Memory: the bytes of the step; for a delta those of its references as well, and about both once more.
    """
    match step:
        case Absent():
            return Made([Sent(ref.digest, FrameStatus.MISSING, Codec.PLAIN, b"") for ref in step.refs])
        case Delta():
            delta = _make_delta(store, step)
            return Made([delta]) if delta is not None else _make_plain(store, step.refs, compress=compress)
        case Plain():
            return _make_plain(store, step.refs, compress=compress)


def _make_delta(store: ChunkReader, step: Delta) -> Sent | None:
    try:
        chunks, references = store.read(step.refs), store.read(step.references)
    except (Corrupt, NotFound):
        # The plain frames that follow say which chunk it was, unless it was a reference, which the read has noted.
        return None
    delta = encode_delta([chunks], references)
    if delta is None:
        return None
    return Sent(step.refs[0].digest, FrameStatus.DELTA, Codec.ZSTD, delta)


def _make_plain(store: ChunkReader, refs: Sequence[ChunkRef], *, compress: bool) -> Made:
    try:
        content = store.read(refs)
    except Corrupt as error:
        return _cut_at(store, refs, error, compress=compress)
    frames: list[Sent] = []
    end = 0
    for ref in refs:
        start, end = end, end + ref.length
        frames.append(_frame(ref.digest, content[start:end], compress=compress))
    return Made(frames)


def _frame(digest: Digest, chunk: memoryview, *, compress: bool) -> Sent:
    compressed = compress_chunk(chunk) if compress else None
    if compressed is None:
        return Sent(digest, FrameStatus.CHUNK, Codec.PLAIN, chunk)
    return Sent(digest, FrameStatus.CHUNK, Codec.ZSTD, compressed)


def _cut_at(store: ChunkReader, refs: Sequence[ChunkRef], error: Corrupt, *, compress: bool) -> Made:
    """Everything before the damaged chunk, and a frame that names it."""
    damaged = damaged_index(refs, error)
    before = _make_plain(store, refs[:damaged], compress=compress) if damaged else Made([])
    if before.corrupt is not None:
        return before
    said = Sent(refs[damaged].digest, FrameStatus.CORRUPT, Codec.PLAIN, b"")
    return Made([*before.frames, said], error)


def damaged_index(refs: Sequence[ChunkRef], error: Corrupt) -> int:
    """Which of `refs` a read found damaged; raises `error` where it names none of them."""
    for index, ref in enumerate(refs):
        if str(ref.digest) == error.data.get("digest"):
            return index
    raise error


def _located(digests: Sequence[Digest], lengths: Lengths) -> list[ChunkRef] | None:
    """The chunks with their lengths; None where one is not here."""
    refs = [ChunkRef(digest, length) for digest in digests if (length := lengths[digest]) is not None]
    return refs if len(refs) == len(digests) else None


def _delta(chunks: list[ChunkRef] | None, references: list[ChunkRef] | None) -> Delta | None:
    if not chunks or not references:
        return None
    for side in (chunks, references):
        if sum(ref.length for ref in side) > DELTA_BYTES_MAX:
            return None
    return Delta(chunks, references)
