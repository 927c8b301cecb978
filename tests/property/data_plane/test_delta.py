"""What is fetched for a new version: every wanted chunk once, in order, with references to the old one alone."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.data_plane.replication import delta
from replicator.data_plane.replication.delta import OldManifest, pieces
from replicator.data_plane.replication.ports import Piece
from replicator.kernel.chunker import Chunking
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import PAGE_ENTRIES, ChunkRef, Manifest, ManifestBuilder
from replicator.wire.frames import DELTA_BYTES_MAX

MEBIBYTE = 1024 * 1024
LARGE = Chunking(
    chunk_bytes_min=1024 * 1024, chunk_bytes_avg=4 * 1024 * 1024, chunk_bytes_max=16 * 1024 * 1024
)


def ref(number: int, length: int) -> ChunkRef:
    return ChunkRef(Digest.of(number.to_bytes(8) + length.to_bytes(8)), length)


def old_of(entries: Sequence[ChunkRef]) -> OldManifest:
    builder = ManifestBuilder(LARGE)
    pages = [full[2] for entry in entries if (full := builder.add(entry))]
    manifest, last = builder.finish()
    if last:
        pages.append(last[2])
    return OldManifest(manifest, lambda index: pages[index])


def in_pages(entries: Sequence[ChunkRef], size: int = PAGE_ENTRIES) -> Iterator[Sequence[ChunkRef]]:
    for at in range(0, len(entries), size):
        yield entries[at : at + size]


def lengths(piece: Piece) -> tuple[int, int]:
    return sum(each.length for each in piece.chunks), sum(each.length for each in piece.references)


# Few different chunks, so that they repeat, are moved and come back; some too long for any delta.
chunks = st.builds(
    ref, st.integers(0, 30), st.sampled_from([1, 1000, 65_536, 262_144, 5 * MEBIBYTE, 9 * MEBIBYTE])
)
manifests = st.lists(chunks, max_size=60)


@given(old=manifests, new=manifests, damaged=st.sets(chunks, max_size=3), page_size=st.integers(1, 30))
def test_every_wanted_chunk_is_fetched_once_and_in_order(
    old: list[ChunkRef], new: list[ChunkRef], damaged: set[ChunkRef], page_size: int
) -> None:
    here = {each.digest for each in old} - {each.digest for each in damaged}
    followed = old_of(old)
    for page in in_pages(new, page_size):
        wanted = {each.digest for each in page} - here
        got = pieces(page, wanted, followed)
        fetched = [each for piece in got for each in piece.chunks]
        assert fetched == list(dict.fromkeys(each for each in page if each.digest in wanted))
        assert all(piece.chunks for piece in got)
        here |= wanted


@given(old=manifests, new=manifests, damaged=st.sets(chunks, max_size=3))
def test_references_are_old_chunks_that_are_here_and_within_the_bounds(
    old: list[ChunkRef], new: list[ChunkRef], damaged: set[ChunkRef]
) -> None:
    wanted = {each.digest for each in new} - {each.digest for each in old} | {each.digest for each in damaged}
    for piece in pieces(new, wanted & {each.digest for each in new}, old_of(old)):
        run_bytes, reference_bytes = lengths(piece)
        assert set(piece.references) <= set(old)
        assert not wanted & {each.digest for each in piece.references} & {each.digest for each in new}
        if piece.references:
            assert run_bytes <= DELTA_BYTES_MAX
            assert reference_bytes <= DELTA_BYTES_MAX


def file_of(count: int, seed: int = 1) -> list[ChunkRef]:
    chosen = random.Random(seed)
    return [ref(seed * 1_000_000 + number, chosen.randrange(16_384, 262_144)) for number in range(count)]


def fresh(count: int) -> list[ChunkRef]:
    return file_of(count, seed=99)


def wanted_pieces(new: Sequence[ChunkRef], old: Sequence[ChunkRef]) -> list[Piece]:
    here, followed = {each.digest for each in old}, old_of(old)
    got = []
    for page in in_pages(new):
        wanted = {each.digest for each in page} - here
        got += pieces(page, wanted, followed)
        here |= wanted
    return got


def test_a_changed_chunk_refers_to_the_one_it_took_the_place_of() -> None:
    old = file_of(100)
    new = [*old[:40], *fresh(1), *old[41:]]
    assert wanted_pieces(new, old) == [Piece(fresh(1), [old[40]])]


def test_chunks_put_between_two_old_ones_have_nothing_to_refer_to() -> None:
    old = file_of(100)
    (piece,) = wanted_pieces([*old[:40], *fresh(2), *old[40:]], old)
    assert piece.chunks == fresh(2)
    assert not piece.references


def test_a_moved_block_keeps_the_references_of_what_lies_beside_it() -> None:
    old = file_of(300)
    changed = fresh(2)
    # 200 to 249 moved to the front; 10 and 260 changed.
    new = [*old[200:250], *old[:10], changed[0], *old[11:200], *old[250:260], changed[1], *old[261:]]
    first, second = wanted_pieces(new, old)
    assert first == Piece([changed[0]], [old[10]])
    assert second == Piece([changed[1]], [old[260]])


def test_a_change_at_the_edge_of_a_moved_block_refers_to_both_sides() -> None:
    old = file_of(300)
    new = [*old[200:250], *fresh(1), *old[:200], *old[250:]]
    (piece,) = wanted_pieces(new, old)
    assert {old[250], old[251]} <= set(piece.references), "what followed the block before"


def test_a_chunk_that_repeats_everywhere_does_not_lead_astray() -> None:
    zero = ref(0, 262_144)
    old = [
        each
        for number, entry in enumerate(file_of(200))
        for each in ([entry, zero] if number % 2 else [entry])
    ]
    at = old.index(file_of(200)[100])
    new = [*old[:at], *fresh(1), *old[at + 1 :]]
    (piece,) = wanted_pieces(new, old)
    assert piece.references == [old[at]]


def test_a_long_run_is_split_and_each_part_gets_the_old_bytes_beside_it() -> None:
    old = file_of(400)
    changed = file_of(200, seed=2)
    got = wanted_pieces([*old[:100], *changed, *old[300:]], old)
    assert len(got) > 5
    assert all(run <= delta.RUN_BYTES_MAX + 262_144 for run, _ in map(lengths, got))
    for piece in got:
        begins = 100 + changed.index(piece.chunks[0])
        assert old[begins] in piece.references or abs(old.index(piece.references[0]) - begins) < 60


def test_a_version_of_which_every_chunk_changed_a_little_still_refers() -> None:
    old = file_of(1000)
    got = wanted_pieces(file_of(1000, seed=1_000), old)
    assert all(piece.references for piece in got)


@pytest.mark.parametrize("shifted", [0, 3 * PAGE_ENTRIES])
def test_a_manifest_longer_than_the_window_is_followed_to_its_end(shifted: int) -> None:
    count = (delta.WINDOW_PAGES + 10) * PAGE_ENTRIES
    old = [ref(number, 20_000) for number in range(count)]
    new = list(old[shifted:])
    changed = fresh(count // 1000)
    for number, each in enumerate(changed):
        new[min(number * 1000 + 500, len(new) - 2)] = each
    got = wanted_pieces(new, old)
    assert sum(1 for piece in got if piece.references) >= 0.9 * len(got)


def test_no_more_of_a_manifest_is_held_than_the_window() -> None:
    read: list[int] = []
    page = [ref(number, 20_000) for number in range(PAGE_ENTRIES)]
    builder = ManifestBuilder(LARGE)
    for _ in range(100):
        for entry in page:
            builder.add(entry)
    manifest: Manifest = builder.finish()[0]

    def read_page(index: int) -> Sequence[ChunkRef]:
        read.append(index)
        return page

    pieces(fresh(1), {fresh(1)[0].digest}, OldManifest(manifest, read_page))
    assert read == list(range(delta.WINDOW_PAGES))


def test_an_empty_old_version_gives_plain_pieces() -> None:
    new = fresh(50)
    got = wanted_pieces(new, [])
    assert [each for piece in got for each in piece.chunks] == new
    assert not any(piece.references for piece in got)
