"""What every store promises about chunks and manifests. See `store_contract`."""
# ruff: noqa: D102  (the names of the tests are the promises)

from __future__ import annotations

import concurrent.futures

import pytest

from replicator.data_plane.ports import Added, Condition, Store
from replicator.kernel.digest import Digest
from replicator.kernel.errors import NotFound, PreconditionFailed
from replicator.kernel.manifest import ChunkRef
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.testing.objects import (
    LongObject,
    commit,
    delete,
    manifest_of,
    named,
    new_version,
    noise,
    read_all,
    ref_of,
)

WRITERS = 8


class ChunkContract:
    """Chunks: stored once, found, read back."""

    def test_only_chunks_that_are_new_count_as_added(self, store: Store) -> None:
        assert store.add(named(b"one", b"four")) == Added(2, 7)
        assert store.add(named(b"one", b"four")) == Added(0, 0)
        assert store.add(named(b"four", b"three", b"one")) == Added(1, 5)

    def test_a_chunk_given_twice_in_one_call_counts_once(self, store: Store) -> None:
        assert store.add(named(b"one", b"one", b"four")) == Added(2, 7)

    def test_adding_nothing_adds_nothing(self, store: Store) -> None:
        assert store.add([]) == Added(0, 0)

    def test_an_added_chunk_stays_known_after_a_checkpoint(self, store: Store) -> None:
        store.add(named(b"one"))
        store.checkpoint()
        assert store.add(named(b"one")) == Added(0, 0)
        assert bytes(store.read([ref_of(b"one")])) == b"one"

    def test_locate_gives_lengths_in_the_order_asked(self, store: Store) -> None:
        store.add(named(b"one", b"three"))
        digests = [Digest.of(payload) for payload in (b"three", b"absent", b"one", b"three")]
        assert store.locate(digests) == [5, None, 3, 5]
        assert store.locate([]) == []

    def test_locate_of_more_chunks_than_a_page_of_a_manifest_holds(self, store: Store) -> None:
        payloads = [number.to_bytes(2) for number in range(5000)]
        store.add(named(*payloads[::2]))
        store.checkpoint()
        expected = [2 if number % 2 == 0 else None for number in range(5000)]
        assert store.locate([Digest.of(payload) for payload in payloads]) == expected

    def test_read_gives_chunks_in_the_order_asked_and_repeats_them(self, store: Store) -> None:
        store.add(named(b"one", b"two", b"three"))
        wanted = [ref_of(payload) for payload in (b"three", b"one", b"two", b"three")]
        assert bytes(store.read(wanted)) == b"threeonetwothree"
        assert bytes(store.read([])) == b""

    def test_read_leaves_a_gap_of_zeros_before_each_chunk(self, store: Store) -> None:
        store.add(named(b"one", b"three"))
        block = store.read([ref_of(b"three"), ref_of(b"one")], gap=4)
        assert bytes(block) == bytes(4) + b"three" + bytes(4) + b"one"

    def test_a_caller_may_write_into_the_gaps(self, store: Store) -> None:
        store.add(named(b"one"))
        block = store.read([ref_of(b"one")], gap=2)
        block[:2] = b"->"
        assert bytes(block) == b"->one"
        assert bytes(store.read([ref_of(b"one")])) == b"one"

    def test_a_read_that_may_not_wait_gives_the_bytes_or_gives_up(self, store: Store) -> None:
        store.add(named(b"one"))
        try:
            block = store.read([ref_of(b"one")], wait=False)
        except BlockingIOError:
            return
        assert bytes(block) == b"one"

    def test_reading_a_chunk_that_is_not_here_is_not_found_and_names_it(self, store: Store) -> None:
        store.add(named(b"one"))
        absent = ref_of(b"absent")
        with pytest.raises(NotFound) as caught:
            store.read([ref_of(b"one"), absent])
        assert caught.value.data["digest"] == str(absent.digest)

    def test_the_caller_may_reuse_its_buffer_once_add_has_returned(self, store: Store) -> None:
        buffer = bytearray(b"onetwo")
        view = memoryview(buffer)
        store.add([(Digest.of(b"one"), view[:3]), (Digest.of(b"two"), view[3:])])
        buffer[:] = bytes(6)
        store.checkpoint()
        assert bytes(store.read([ref_of(b"one"), ref_of(b"two")])) == b"onetwo"

    def test_the_same_content_from_many_threads_is_stored_once(self, store: Store) -> None:
        chunks = named(*(noise(seed, 300) for seed in range(40)))
        with concurrent.futures.ThreadPoolExecutor(WRITERS) as threads:
            calls = [threads.submit(store.add, chunks[start:] + chunks[:start]) for start in range(WRITERS)]
            added = [call.result() for call in calls]
        assert sum(one.chunks for one in added) == len(chunks)
        assert sum(one.bytes for one in added) == 300 * len(chunks)
        assert bytes(store.read([ref_of(payload) for _, payload in chunks])) == b"".join(
            payload for _, payload in chunks
        )


class ManifestContract:
    """Manifests and their pages: there with their version, gone if it does not come."""

    def test_a_manifest_without_pages_is_kept_with_its_version(self, store: Store) -> None:
        new = new_version("a", b"one", b"two")
        commit(store, new)
        kept = store.manifest(new.manifest.digest)
        assert kept.encoded == new.manifest.encoded
        assert list(store.entries(kept)) == [(ref_of(b"one"), ref_of(b"two"))]
        assert read_all(store, kept) == b"onetwo"

    def test_the_manifest_of_an_empty_object_has_no_entries(self, store: Store) -> None:
        version = commit(store, new_version("a")).version
        assert (version.size, version.chunk_count) == (0, 0)
        assert read_all(store, store.manifest(version.manifest)) == b""

    def test_a_manifest_that_is_not_here_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.manifest(manifest_of(b"one").digest)
        long = LongObject()
        with pytest.raises(NotFound):
            store.page(long.manifest, 0)
        with pytest.raises(NotFound):
            list(store.entries(long.manifest))

    def test_staged_pages_become_part_of_the_version_that_names_their_number(self, store: Store) -> None:
        long = LongObject()
        commit(store, long.new_version("long", number=long.stage(store)))
        kept = store.manifest(long.manifest.digest)
        assert [store.page(kept, index) for index in range(2)] == [encoded for _, encoded, _ in long.pages]
        assert list(store.entries(kept)) == [tuple(entries) for _, _, entries in long.pages]
        assert list(store.entries(kept, 1)) == [tuple(long.pages[1][2])]
        assert read_all(store, kept) == long.data

    def test_a_page_behind_the_last_is_not_found(self, store: Store) -> None:
        long = LongObject()
        commit(store, long.new_version("long", number=long.stage(store)))
        with pytest.raises(NotFound):
            store.page(long.manifest, 2)

    def test_pages_are_invisible_before_their_commit_and_after_discard(self, store: Store) -> None:
        long = LongObject()
        number = long.stage(store)
        with pytest.raises(NotFound):
            store.page(long.manifest, 0)
        store.discard(number)
        with pytest.raises(NotFound):
            store.manifest(long.manifest.digest)
        assert store.locate([Digest.of(payload) for payload in long.payloads]) == [1, 2, 3]

    def test_numbers_are_never_given_twice(self, store: Store) -> None:
        long = LongObject()
        numbers = [store.stage(), long.stage(store), store.stage()]
        store.discard(numbers[0])
        commit(store, long.new_version("long", number=numbers[1]))
        numbers += [store.stage(), store.stage()]
        assert len(set(numbers)) == len(numbers)

    def test_discarding_one_staging_leaves_another_of_the_same_object(self, store: Store) -> None:
        long = LongObject()
        one, other = long.stage(store), long.stage(store)
        store.discard(one)
        commit(store, long.new_version("long", number=other))
        assert read_all(store, long.manifest) == long.data

    def test_discarding_after_the_commit_takes_nothing_away(self, store: Store) -> None:
        long = LongObject()
        number = long.stage(store)
        commit(store, long.new_version("long", number=number))
        store.discard(number)
        store.checkpoint()
        assert read_all(store, long.manifest) == long.data

    def test_an_object_staged_twice_is_whole_after_both_commits(self, store: Store) -> None:
        long = LongObject()
        one, other = long.stage(store), long.stage(store)
        commit(store, long.new_version("one", number=one))
        commit(store, long.new_version("other", number=other))
        store.checkpoint()
        assert read_all(store, long.manifest) == long.data

    def test_a_known_manifest_needs_no_staging(self, store: Store) -> None:
        long = LongObject()
        commit(store, long.new_version("one", number=long.stage(store)))
        shared = long.new_version("other", number=None, shares=True)
        assert commit(store, shared).version.size == len(long.data)
        delete(store, "one")
        assert read_all(store, long.manifest) == long.data

    def test_a_refused_commit_undoes_its_staging_and_can_be_tried_again(self, store: Store) -> None:
        long = LongObject()
        refused = long.new_version("long", number=long.stage(store), condition=Condition(must_exist=True))
        with pytest.raises(PreconditionFailed):
            commit(store, refused)
        with pytest.raises(NotFound):
            store.manifest(long.manifest.digest)
        commit(store, long.new_version("long", number=long.stage(store)))
        assert read_all(store, long.manifest) == long.data

    def test_staged_pages_may_name_chunks_already_known(self, store: Store) -> None:
        long = LongObject()
        commit(store, new_version("other", *long.payloads))
        assert store.add(named(*long.payloads)) == Added(0, 0)
        commit(store, long.new_version("long", number=long.stage(store)))
        first: ChunkRef = long.pages[0][2][0]
        assert bytes(store.read([first])) == long.payloads[0]


class HoldContract:
    """Holds: what is found, added and pinned for some work is named by its hold until that is closed."""

    def test_a_hold_names_what_was_added_for_it_whether_new_or_not(self, store: Store) -> None:
        store.add(named(b"one"))
        with store.hold("a test") as hold:
            store.add(named(b"one", b"two"), hold)
            assert hold.chunks == {Digest.of(b"one"), Digest.of(b"two")}
        assert hold.purpose == "a test"

    def test_a_hold_names_what_was_found_for_it(self, store: Store) -> None:
        store.add(named(b"one"))
        with store.hold("a test") as hold:
            assert store.locate([Digest.of(b"one"), Digest.of(b"absent")], hold=hold) == [3, None]
            assert hold.chunks == {Digest.of(b"one")}

    def test_a_hold_names_the_manifests_that_are_pinned(self, store: Store) -> None:
        manifest = commit(store, new_version("a", b"one")).version.manifest
        with store.hold("a test") as hold:
            assert store.pin(manifest, hold).digest == manifest
            assert hold.manifests == {manifest}
            with pytest.raises(NotFound):
                store.pin(manifest_of(b"other").digest, hold)

    def test_a_hold_may_be_closed_again(self, store: Store) -> None:
        with store.hold("a test") as hold:
            hold.close()
        hold.close()
        assert store.add(named(b"one")) == Added(1, 3)

    def test_a_pinned_manifest_can_be_shared_though_its_version_is_deleted(self, store: Store) -> None:
        long = LongObject()
        commit(store, long.new_version("one", number=long.stage(store)))
        with store.hold("a test") as hold:
            store.pin(long.manifest.digest, hold)
            delete(store, "one")
            commit(store, long.new_version("other", number=None, shares=True))
        assert read_all(store, store.manifest(long.manifest.digest)) == long.data

    def test_a_manifest_that_is_not_here_cannot_be_shared(self, store: Store) -> None:
        store.add(named(b"one"))
        with pytest.raises(NotFound):
            commit(store, new_version("a", b"one", shares=True))
        assert store.head(DEFAULT_BUCKET, ObjectId("a")) is None
