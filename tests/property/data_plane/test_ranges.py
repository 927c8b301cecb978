"""Any range of any object is the same bytes as that slice of what was uploaded."""

from __future__ import annotations

from functools import cache

from hypothesis import example, given, settings
from hypothesis import strategies as st

from replicator.data_plane.objects.blocks import BLOCK_BYTES_MAX, SHORT_BYTES_MAX
from replicator.data_plane.objects.service import batch_range
from replicator.data_plane.ports import Committed
from replicator.kernel.manifest import PAGE_ENTRIES
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_store import MemoryStore
from replicator.testing.objects import TINY_CHUNKING, noise, read_range, upload

LENGTHS = [0, 1, 64, 1024, 5000, 1_100_000, 3_400_000]
"""No page of references below the root, or up to three; less and more than one block."""


@cache
def uploaded(length: int) -> tuple[MemoryStore, Committed, bytes]:
    store = MemoryStore(clock=FrozenClock(), chunking=TINY_CHUNKING)
    data = noise(length, length)
    return store, upload(store, "a", data), data


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int, int]:
    length = draw(st.sampled_from(LENGTHS))
    start = draw(st.integers(0, length))
    return length, start, draw(st.integers(start, length))


def test_the_objects_have_manifests_of_both_depths() -> None:
    counts = [uploaded(length)[1].version.chunk_count for length in LENGTHS]
    assert min(counts) == 0
    assert sum(count > PAGE_ENTRIES for count in counts) >= 1
    assert max(counts) > 2 * PAGE_ENTRIES


@settings(deadline=None, print_blob=True)
@given(ranges())
@example((3_400_000, 0, 3_400_000))
@example((3_400_000, 3_399_999, 3_400_000))
@example((0, 0, 0))
def test_a_range_is_a_slice(asked: tuple[int, int, int]) -> None:
    length, start, stop = asked
    store, done, data = uploaded(length)
    manifest = store.manifest(done.version.manifest)
    assert read_range(store, manifest, start, stop) == data[start:stop]


@settings(deadline=None, print_blob=True)
@given(ranges(), st.sampled_from([SHORT_BYTES_MAX, BLOCK_BYTES_MAX]))
def test_a_range_is_read_in_bounded_batches_that_waste_at_most_their_ends(
    asked: tuple[int, int, int], block_bytes: int
) -> None:
    length, start, stop = asked
    store, done, _ = uploaded(length)
    manifest = store.manifest(done.version.manifest)
    batches = list(batch_range(store, manifest, start, stop, lambda: block_bytes))
    chunk_bytes_max = TINY_CHUNKING.chunk_bytes_max
    read = [sum(ref.length for ref in batch.refs) for batch in batches]
    assert all(0 < length < block_bytes + chunk_bytes_max for length in read)
    assert sum(read) <= stop - start + 2 * chunk_bytes_max
