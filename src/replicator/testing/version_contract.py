"""What every store promises about versions, listing and the outbox. See `store_contract`."""
# ruff: noqa: D102  (the names of the tests are the promises)

from __future__ import annotations

import concurrent.futures
import itertools
import threading
from collections.abc import Iterator

import pytest

from replicator.data_plane.ports import (
    Added,
    Committed,
    Condition,
    Deleted,
    Listing,
    Store,
    Version,
    Versioning,
)
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Conflict, NotFound, PreconditionFailed, ReplicatorError
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.kernel.version import VersionClock, VersionId
from replicator.testing.objects import (
    CONTENT_TYPE,
    commit,
    delete,
    listed,
    manifest_of,
    new_version,
    read_all,
)

KEY = ObjectId("a")
WRITERS = 8
# Their order as bytes differs from that of UTF-16, of a dictionary and of a path.
IDS = sorted(
    ["a", "a ", "a!", "a-b", "a.b", "a/", "a/b", "a//b", "a/b/c", "a0", "aa", "a\xa0", "a~", "B", "b", "~", "/",
     "\xa0", "é", "e\u0301", "日本/語", "\uffee", "\U0001d4b3", "x" * 1024],
    key=str.encode,
)  # fmt: skip
PREFIXES = ["", "a", "a/", "a/b", "a/b/c/d", "b", "é", "日", "日本/", "\U0001d4b3", "x", "zz", "/", "a\0"]


def grouped(prefix: str, delimiter: str) -> tuple[list[str], list[str]]:
    """(ids, groups) among `IDS` that begin with `prefix`, in order."""
    keys: list[str] = []
    groups: list[str] = []
    for key in IDS:
        head, found, _ = key[len(prefix) :].partition(delimiter)
        if key.startswith(prefix):
            (groups if found else keys).append(prefix + head + found)
    return keys, sorted(set(groups), key=str.encode)


def pages(store: Store, prefix: str, delimiter: str, limit: int) -> Iterator[Listing]:
    """Every page of a listing of the bucket `default`."""
    after = None
    for _ in range(len(IDS) + 1):
        page = store.list_objects(DEFAULT_BUCKET, prefix, delimiter=delimiter, after=after, limit=limit)
        yield page
        after = page.after
        if after is None:
            return
    pytest.fail("the list does not end")


def abroad(stamp_ms: int) -> VersionId:
    """A version id that another node made."""
    return VersionClock("elsewhere").next(stamp_ms)


class VersionContract:
    """Versions: whole, ordered, conditional, and told about exactly once."""

    def test_a_version_says_what_was_committed(self, store: Store) -> None:
        done = commit(store, new_version("a", b"one", b"four"))
        expected = Version(
            bucket=DEFAULT_BUCKET,
            object_id=KEY,
            version=done.version.version,
            manifest=manifest_of(b"one", b"four").digest,
            size=7,
            chunk_count=2,
            content_type=CONTENT_TYPE,
            null=True,
        )
        assert done == Committed(expected, Added(2, 7), None)
        assert store.head(DEFAULT_BUCKET, KEY) == expected

    def test_chunks_that_come_with_a_version_count_only_when_new(self, store: Store) -> None:
        commit(store, new_version("a", b"one", b"two"))
        assert commit(store, new_version("b", b"two", b"three", b"three")).added == Added(1, 5)
        assert commit(store, new_version("c", b"two", b"three")).added == Added(0, 0)

    def test_a_new_version_replaces_the_one_before_and_names_it(self, store: Store) -> None:
        first = commit(store, new_version("a", b"one")).version
        done = commit(store, new_version("a", b"two"))
        assert done.replaced == first
        head = store.head(DEFAULT_BUCKET, KEY)
        assert head == done.version
        assert read_all(store, store.manifest(head.manifest)) == b"two"

    def test_version_ids_grow_though_the_clock_stands_still(self, store: Store) -> None:
        made = [commit(store, new_version(key, b"x")).version.version for key in "abab"]
        assert made == sorted(set(made))

    def test_an_object_that_was_never_written_has_no_head(self, store: Store) -> None:
        commit(store, new_version("a/b", b"x"))
        assert store.head(DEFAULT_BUCKET, KEY) is None
        assert store.head(DEFAULT_BUCKET, ObjectId("a/")) is None

    def test_buckets_do_not_meet(self, store: Store) -> None:
        other = BucketName("default2")
        store.set_bucket(other, Versioning.OFF)
        commit(store, new_version("a", b"one"))
        commit(store, new_version("a", b"two", bucket=other))
        assert [version.size for version in listed(store, bucket=other)] == [3]
        delete(store, "a", bucket=other)
        assert store.head(DEFAULT_BUCKET, KEY) is not None
        assert listed(store, bucket=other) == []

    def test_a_refused_manifest_is_not_replaced(self, store: Store) -> None:
        first = commit(store, new_version("a", b"one")).version
        refused = Condition(refused=frozenset([first.manifest]))
        with pytest.raises(PreconditionFailed):
            commit(store, new_version("a", b"two", condition=refused))
        commit(store, new_version("b", b"two", condition=refused))

    @pytest.mark.parametrize(
        "condition",
        [
            Condition(must_be_absent=True),
            Condition(manifests=frozenset()),
            Condition(manifests=frozenset([manifest_of(b"other").digest])),
        ],
    )
    def test_a_condition_that_fails_on_an_existing_object(self, store: Store, condition: Condition) -> None:
        before = commit(store, new_version("a", b"one")).version
        with pytest.raises(PreconditionFailed):
            commit(store, new_version("a", b"two", condition=condition))
        with pytest.raises(PreconditionFailed):
            delete(store, "a", condition)
        assert store.head(DEFAULT_BUCKET, KEY) == before

    @pytest.mark.parametrize(
        "condition",
        [Condition(must_exist=True), Condition(manifests=frozenset([manifest_of(b"one").digest]))],
    )
    def test_a_condition_that_fails_on_an_absent_object(self, store: Store, condition: Condition) -> None:
        with pytest.raises(PreconditionFailed):
            commit(store, new_version("a", b"one", condition=condition))
        with pytest.raises(NotFound):
            delete(store, "a", condition)
        assert store.head(DEFAULT_BUCKET, KEY) is None

    def test_conditions_that_hold(self, store: Store) -> None:
        first = commit(store, new_version("a", b"one", condition=Condition(must_be_absent=True))).version
        is_first = Condition(manifests=frozenset([first.manifest, manifest_of(b"zero").digest]))
        second = commit(store, new_version("a", b"two", condition=is_first)).version
        third = commit(store, new_version("a", b"three", condition=Condition(must_exist=True))).version
        assert first.version < second.version < third.version
        assert delete(store, "a", Condition(manifests=frozenset([third.manifest]))) == Deleted(third, None)

    def test_of_many_writers_that_want_the_object_absent_one_succeeds(self, store: Store) -> None:
        start = threading.Barrier(WRITERS)

        def write(writer: int) -> bytes | None:
            content = f"writer {writer}".encode()
            start.wait()
            try:
                commit(store, new_version("a", content, condition=Condition(must_be_absent=True)))
            except PreconditionFailed:
                return None
            return content

        with concurrent.futures.ThreadPoolExecutor(WRITERS) as threads:
            written = [content for content in threads.map(write, range(WRITERS)) if content is not None]
        head = store.head(DEFAULT_BUCKET, KEY)
        assert head is not None
        assert written == [read_all(store, store.manifest(head.manifest))]

    def test_every_outcome_is_told_exactly_once(self, store: Store) -> None:
        told: list[tuple[bool, type[ReplicatorError] | None]] = []

        def settle(done: Committed | Deleted | None, error: ReplicatorError | None) -> None:
            told.append((done is not None, None if error is None else type(error)))

        store.commit(new_version("a", b"one"), settle)
        store.commit(new_version("a", b"two", condition=Condition(must_be_absent=True)), settle)
        store.delete(DEFAULT_BUCKET, ObjectId("b"), Condition(), settle)
        store.delete(DEFAULT_BUCKET, KEY, Condition(), settle)
        store.checkpoint()
        assert told == [(True, None), (False, PreconditionFailed), (False, NotFound), (True, None)]


class ReplicatedVersionContract:
    """Versions that come from another node keep their ids and their order."""

    def test_it_keeps_the_id_it_has_elsewhere(self, store: Store) -> None:
        version = commit(store, new_version("a", b"one", version=abroad(5))).version
        assert version.version == abroad(5)
        assert store.head(DEFAULT_BUCKET, KEY) == version

    def test_committing_it_again_changes_nothing(self, store: Store) -> None:
        first = commit(store, new_version("a", b"one", version=abroad(5))).version
        again = commit(store, new_version("a", b"one", version=abroad(5)))
        assert (again.version, again.replaced) == (first, None)
        assert listed(store) == [first]

    def test_an_older_one_is_a_conflict(self, store: Store) -> None:
        head = commit(store, new_version("a", b"one", version=abroad(5))).version
        with pytest.raises(Conflict):
            commit(store, new_version("a", b"two", version=abroad(4)))
        assert store.head(DEFAULT_BUCKET, KEY) == head

    def test_the_same_id_with_other_content_is_a_conflict(self, store: Store) -> None:
        head = commit(store, new_version("a", b"one", version=abroad(5))).version
        with pytest.raises(Conflict):
            commit(store, new_version("a", b"two", version=abroad(5)))
        assert store.head(DEFAULT_BUCKET, KEY) == head

    def test_one_older_than_what_was_written_here_is_a_conflict(self, store: Store) -> None:
        head = commit(store, new_version("a", b"one")).version
        with pytest.raises(Conflict):
            commit(store, new_version("a", b"two", version=abroad(head.version.wall_ms - 1)))
        assert store.head(DEFAULT_BUCKET, KEY) == head

    def test_a_newer_one_replaces(self, store: Store) -> None:
        first = commit(store, new_version("a", b"one", version=abroad(5))).version
        assert commit(store, new_version("a", b"two", version=abroad(6))).replaced == first
        assert len(listed(store)) == 1

    def test_what_is_written_here_afterwards_is_newer(self, store: Store) -> None:
        here = commit(store, new_version("b", b"one")).version
        ahead = abroad(here.version.wall_ms + 3_600_000)
        commit(store, new_version("a", b"one", version=ahead))
        assert commit(store, new_version("a", b"two")).version.version > ahead


class DeletionContract:
    """Deletion removes the version, and nothing that another one needs."""

    def test_a_deleted_object_is_gone(self, store: Store) -> None:
        version = commit(store, new_version("a", b"one")).version
        assert delete(store, "a") == Deleted(version, None)
        assert store.head(DEFAULT_BUCKET, KEY) is None
        assert listed(store) == []

    def test_deleting_what_is_not_there_is_not_found(self, store: Store) -> None:
        commit(store, new_version("a/b", b"one"))
        with pytest.raises(NotFound):
            delete(store, "a")

    def test_it_can_be_written_again_with_a_newer_id(self, store: Store) -> None:
        before = commit(store, new_version("a", b"one")).version
        delete(store, "a")
        done = commit(store, new_version("a", b"one", condition=Condition(must_be_absent=True)))
        assert (done.replaced, done.added) == (None, Added(0, 0))
        assert done.version.version > before.version

    def test_another_object_of_the_same_content_stays_readable(self, store: Store) -> None:
        commit(store, new_version("a", b"one"))
        kept = commit(store, new_version("b", b"one")).version
        delete(store, "a")
        assert read_all(store, store.manifest(kept.manifest)) == b"one"

    def test_its_chunks_are_found_again_by_an_upload_that_follows_at_once(self, store: Store) -> None:
        commit(store, new_version("a", b"one"))
        delete(store, "a")
        assert store.locate([Digest.of(b"one")]) == [3]
        assert commit(store, new_version("b", b"one")).added == Added(0, 0)


class ListingContract:
    """Listing: every object once, in the order of its id's bytes."""

    def test_any_page_of_any_prefix_is_what_sorting_says(self, store: Store) -> None:
        for key in reversed(IDS):
            commit(store, new_version(key, key.encode()))
        for key in IDS[::3]:
            commit(store, new_version(key, b"second"))
        for prefix, after, limit in itertools.product(
            PREFIXES, [None, "0", "a/zz", "zzz", *IDS], [1, 3, 100]
        ):
            page = store.list_objects(DEFAULT_BUCKET, prefix, after=after, limit=limit)
            found = [version.object_id for version in page.versions]
            rest = [
                key
                for key in IDS
                if key.startswith(prefix) and (after is None or key.encode() > after.encode())
            ]
            assert found == rest[:limit], (prefix, after, limit)
            assert page.after == (found[-1] if len(rest) > limit else None)
            assert page.prefixes == []

    @pytest.mark.parametrize("delimiter", ["/", "a", "//", "é"])
    @pytest.mark.parametrize("limit", [1, 2, 100])
    def test_with_a_delimiter_each_group_is_listed_once(
        self, store: Store, delimiter: str, limit: int
    ) -> None:
        for key in IDS:
            commit(store, new_version(key, b"x"))
        for prefix in PREFIXES:
            keys, groups = grouped(prefix, delimiter)
            found_keys, found_groups = [], []
            for page in pages(store, prefix, delimiter, limit):
                assert len(page.versions) + len(page.prefixes) <= limit
                found_keys += [version.object_id for version in page.versions]
                found_groups += page.prefixes
            assert (found_keys, found_groups) == (keys, groups), prefix

    def test_a_list_that_goes_on_inside_a_group_goes_on_behind_it(self, store: Store) -> None:
        for key in ("a", "b/1", "b/2", "c"):
            commit(store, new_version(key, b"x"))
        page = store.list_objects(DEFAULT_BUCKET, "", delimiter="/", after="b/1", limit=10)
        assert ([version.object_id for version in page.versions], page.prefixes) == (["c"], [])

    def test_a_group_whose_objects_are_deleted_is_not_listed(self, store: Store) -> None:
        commit(store, new_version("a/1", b"x"))
        commit(store, new_version("b/1", b"x"))
        delete(store, "a/1")
        assert store.list_objects(DEFAULT_BUCKET, "", delimiter="/", limit=1) == Listing([], ["b/"], None)

    def test_it_shows_the_latest_version_of_each_object(self, store: Store) -> None:
        commit(store, new_version("a", b"one"))
        commit(store, new_version("b", b"one"))
        latest = commit(store, new_version("a", b"three")).version
        found = listed(store)
        assert [version.size for version in found] == [5, 3]
        assert found[0] == latest

    def test_of_nothing_there_is_nothing_to_list(self, store: Store) -> None:
        assert listed(store) == []


class OutboxContract:
    """The outbox keeps what was posted until it is withdrawn."""

    def test_it_is_read_in_order_of_task_and_epoch(self, store: Store) -> None:
        store.post(300, 1, b"c")
        store.post(2, 256, b"b")
        store.post(2, 1, b"a")
        assert store.outbox() == [(2, 1, b"a"), (2, 256, b"b"), (300, 1, b"c")]

    def test_posting_again_replaces(self, store: Store) -> None:
        store.post(1, 1, b"old")
        store.post(1, 1, b"new")
        assert store.outbox() == [(1, 1, b"new")]

    def test_withdrawing_drops_that_one_only(self, store: Store) -> None:
        store.post(1, 1, b"a")
        store.post(1, 2, b"b")
        store.withdraw(1, 1)
        store.withdraw(9, 9)
        store.checkpoint()
        assert store.outbox() == [(1, 2, b"b")]

    def test_a_long_outbox_is_read_in_parts(self, store: Store) -> None:
        for task in range(260):
            store.post(task, 0, b"")
        assert [task for task, _, _ in store.outbox()] == list(range(256))
