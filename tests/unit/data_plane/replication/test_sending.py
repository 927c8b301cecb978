"""Which frames answer a fetch: in order, as deltas only where all is here, and nothing behind damage."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from replicator.data_plane.replication.messages.requests import FetchAsked, PieceAsked
from replicator.data_plane.replication.sending import (
    Absent,
    Delta,
    Lengths,
    Made,
    Plain,
    Step,
    asked_digests,
    make,
    steps,
)
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt
from replicator.testing.objects import named, noise, ref_of
from replicator.testing.peer_source import SourceStore
from replicator.wire.frames import DELTA_BYTES_MAX, Codec, FrameStatus

BLOCK_BYTES = 100
TEXT = b"it was the best of times, it was the worst of times; " * 20


def digests(*names: str) -> list[Digest]:
    return [Digest.of(name.encode()) for name in names]


def piece(chunks: str, references: str = "") -> PieceAsked:
    """Chunks and references of one letter each."""
    return PieceAsked(digests(*chunks), digests(*references))


def planned(pieces: Sequence[PieceAsked], lengths: dict[str, int]) -> list[tuple[type[Step], str]]:
    """The steps and the letters of their chunks; what `lengths` does not name is absent."""
    asked = FetchAsked(list(pieces), False)
    letters = {digest: name for name in "abcdefgrs" for digest in digests(name)}
    known: Lengths = {digest: lengths.get(letters[digest]) for digest in asked_digests(asked)}
    return [
        (type(step), "".join(letters[ref.digest] for ref in step.refs))
        for step in steps(asked, known, lambda: BLOCK_BYTES)
    ]


SMALL = dict.fromkeys("abcdefgrs", 10)


def test_chunks_of_several_pieces_make_blocks_together() -> None:
    lengths = dict.fromkeys("abcdef", 40)
    assert planned([piece("ab"), piece("cd"), piece("e"), piece("f")], lengths) == [
        (Plain, "abc"),
        (Plain, "def"),
    ]


def test_what_is_absent_is_said_where_its_turn_is() -> None:
    lengths = {"a": 10, "c": 10, "f": 10}
    assert planned([piece("ab"), piece("cdef")], lengths) == [
        (Plain, "a"),
        (Absent, "b"),
        (Plain, "c"),
        (Absent, "de"),
        (Plain, "f"),
    ]


def test_a_piece_with_references_is_a_step_of_its_own() -> None:
    pieces = [piece("a"), piece("bc", "r"), piece("d"), piece("e")]
    assert planned(pieces, SMALL) == [(Plain, "a"), (Delta, "bc"), (Plain, "de")]


@pytest.mark.parametrize(
    "lengths",
    [
        {**SMALL, "r": DELTA_BYTES_MAX + 1},
        {**SMALL, "b": DELTA_BYTES_MAX + 1},
        {key: length for key, length in SMALL.items() if key != "r"},
    ],
    ids=["long references", "a long run", "a reference that is absent"],
)
def test_what_cannot_be_a_delta_goes_chunk_by_chunk(lengths: dict[str, int]) -> None:
    kinds = {kind for kind, _ in planned([piece("ab", "rs")], lengths)}
    assert kinds == {Plain}


def test_a_piece_of_which_a_chunk_is_absent_goes_chunk_by_chunk() -> None:
    assert planned([piece("ab", "r")], {"b": 10, "r": 10}) == [(Absent, "a"), (Plain, "b")]


@pytest.fixture
def store() -> SourceStore:
    store = SourceStore()
    store.add(named(*CHUNKS, *OLD, TEXT))
    return store


OLD = [noise(seed, 1000) for seed in range(4)]
CHUNKS = [old[:400] + b"new" + old[400:] for old in OLD]
DELTA = Delta([ref_of(each) for each in CHUNKS], [ref_of(each) for each in OLD])


def statuses(made: Made) -> list[FrameStatus]:
    return [frame.status for frame in made.frames]


def test_a_delta_is_one_frame_named_by_its_first_chunk(store: SourceStore) -> None:
    (frame,) = make(store, DELTA, compress=False).frames
    assert (frame.digest, frame.status, frame.codec) == (
        DELTA.refs[0].digest,
        FrameStatus.DELTA,
        Codec.ZSTD,
    )
    assert len(frame.payload) < len(CHUNKS[0])


def test_a_damaged_reference_costs_bytes_and_nothing_else(store: SourceStore) -> None:
    store.damaged.add(DELTA.references[2].digest)
    made = make(store, DELTA, compress=False)
    assert made.corrupt is None
    assert [bytes(frame.payload) for frame in made.frames] == CHUNKS


@pytest.mark.parametrize("step", [DELTA, Plain(DELTA.refs)])
@pytest.mark.parametrize("damaged", range(4))
def test_what_comes_before_a_damaged_chunk_is_sent_and_then_which_it_is(
    store: SourceStore, step: Step, damaged: int
) -> None:
    store.damaged.add(DELTA.refs[damaged].digest)
    made = make(store, step, compress=False)
    assert statuses(made) == [FrameStatus.CHUNK] * damaged + [FrameStatus.CORRUPT]
    assert [bytes(frame.payload) for frame in made.frames] == [*CHUNKS[:damaged], b""]
    assert made.frames[-1].digest == DELTA.refs[damaged].digest
    assert isinstance(made.corrupt, Corrupt)


def test_only_what_gets_shorter_is_compressed(store: SourceStore) -> None:
    step = Plain([ref_of(TEXT), DELTA.refs[0]])
    text, random = make(store, step, compress=True).frames
    assert (text.codec, random.codec) == (Codec.ZSTD, Codec.PLAIN)
    assert len(text.payload) < len(TEXT) // 4
    assert [frame.codec for frame in make(store, step, compress=False).frames] == [Codec.PLAIN] * 2
