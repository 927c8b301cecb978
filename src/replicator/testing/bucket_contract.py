"""What every store promises about buckets and the versions that they keep. See `store_contract`."""
# ruff: noqa: D102  (the names of the tests are the promises)

from __future__ import annotations

import pytest

from replicator.data_plane.ports import Condition, Deleted, DeleteMarker, Store, Version, Versioning
from replicator.kernel.errors import Conflict, NotFound, PreconditionFailed
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.kernel.version import VersionClock, VersionId
from replicator.testing.objects import commit, delete, history, listed, manifest_of, new_version, read_all

KEY = ObjectId("a")
BUCKET = BucketName("other")
OFF, ON, SUSPENDED = Versioning.OFF, Versioning.ON, Versioning.SUSPENDED


def abroad(stamp_ms: int, node: str = "elsewhere") -> VersionId:
    """A version id that another node made."""
    return VersionClock(node).next(stamp_ms)


def put(store: Store, content: bytes, version: VersionId | None = None) -> Version:
    """A version of `KEY` in the bucket `default`, whose one chunk is `content`."""
    return commit(store, new_version(KEY, content, version=version)).version


def sizes(store: Store) -> list[int | None]:
    """The versions of `KEY`, newest first, by size; None for a delete marker."""
    return [each.size if isinstance(each, Version) else None for each in history(store, KEY)]


def _place(found: list[Version | DeleteMarker]) -> tuple[ObjectId, VersionId] | None:
    return (found[-1].object_id, found[-1].version) if found else None


class BucketContract:
    """Buckets: made, listed, changed, removed when empty."""

    def test_the_bucket_default_is_there_and_keeps_no_versions(self, store: Store) -> None:
        assert (store.bucket(DEFAULT_BUCKET).name, store.bucket(DEFAULT_BUCKET).versioning) == (
            DEFAULT_BUCKET,
            OFF,
        )
        assert store.buckets(None, 10) == [store.bucket(DEFAULT_BUCKET)]

    def test_a_bucket_that_is_not_there_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.bucket(BUCKET)
        with pytest.raises(NotFound):
            store.remove_bucket(BUCKET)
        with pytest.raises(NotFound):
            store.list_objects(BUCKET, "", limit=1)
        with pytest.raises(NotFound):
            commit(store, new_version(KEY, b"x", bucket=BUCKET))
        with pytest.raises(NotFound):
            delete(store, KEY, bucket=BUCKET)
        assert store.head(BUCKET, KEY) is None

    @pytest.mark.parametrize("versioning", Versioning)
    def test_a_bucket_is_made_as_asked(self, store: Store, versioning: Versioning) -> None:
        made = store.set_bucket(BUCKET, versioning)
        assert (made.name, made.versioning) == (BUCKET, versioning)
        assert store.bucket(BUCKET) == made

    def test_a_change_keeps_the_time_of_creation(self, store: Store) -> None:
        made = store.set_bucket(BUCKET, OFF)
        assert store.set_bucket(BUCKET, ON) == made._replace(versioning=ON)
        assert store.set_bucket(BUCKET, SUSPENDED) == made._replace(versioning=SUSPENDED)
        assert store.set_bucket(BUCKET, ON) == made._replace(versioning=ON)

    @pytest.mark.parametrize("versioning", [ON, SUSPENDED])
    def test_what_kept_versions_cannot_be_off_again(self, store: Store, versioning: Versioning) -> None:
        store.set_bucket(BUCKET, versioning)
        with pytest.raises(Conflict):
            store.set_bucket(BUCKET, OFF)
        assert store.bucket(BUCKET).versioning is versioning

    def test_buckets_are_listed_in_byte_order_a_page_at_a_time(self, store: Store) -> None:
        names = [BucketName(name) for name in ("b-1", "b.1", "b1", "default", "zz9")]
        for name in reversed(names):
            store.set_bucket(name, OFF)
        assert [bucket.name for bucket in store.buckets(None, 10)] == names
        assert [bucket.name for bucket in store.buckets(BucketName("b.1"), 2)] == names[2:4]
        assert store.buckets(BucketName("zz9"), 10) == []

    def test_an_empty_bucket_is_removed_and_can_be_made_again(self, store: Store) -> None:
        store.set_bucket(BUCKET, ON)
        store.remove_bucket(BUCKET)
        assert [bucket.name for bucket in store.buckets(None, 10)] == [DEFAULT_BUCKET]
        assert store.set_bucket(BUCKET, OFF).versioning is OFF

    def test_a_bucket_is_empty_only_without_versions_and_markers(self, store: Store) -> None:
        store.set_bucket(BUCKET, ON)
        made = commit(store, new_version(KEY, b"x", bucket=BUCKET)).version
        marker = delete(store, KEY, bucket=BUCKET).marker
        assert marker is not None
        for version in (made.version, marker.version):
            with pytest.raises(Conflict):
                store.remove_bucket(BUCKET)
            delete(store, KEY, bucket=BUCKET, version=version)
        store.remove_bucket(BUCKET)

    def test_everything_in_a_bucket_is_listed_a_page_at_a_time(self, store: Store) -> None:
        store.set_bucket(BUCKET, ON)
        store.set_bucket(BucketName("other.2"), ON)
        commit(store, new_version(KEY, b"elsewhere", bucket=BucketName("other.2")))
        expected: list[Version | DeleteMarker] = []
        for name in ("a", "a!", "a/b", "b", "é"):
            made = [commit(store, new_version(ObjectId(name), b"x", bucket=BUCKET)).version for _ in range(2)]
            expected += made[::-1]
        marker = delete(store, ObjectId("é"), bucket=BUCKET).marker
        assert marker is not None
        expected.insert(-2, marker)
        for limit in (1, 2, 3, 100):
            found: list[Version | DeleteMarker] = []
            while page := store.bucket_versions(BUCKET, "", _place(found), limit):
                assert len(page) <= limit
                found += page
            assert found == expected
        assert store.bucket_versions(BUCKET, "a/", None, 100) == expected[4:6]
        assert store.bucket_versions(BUCKET, "a\0", None, 100) == []

    def test_what_is_listed_of_a_bucket_empties_it(self, store: Store) -> None:
        store.set_bucket(BUCKET, ON)
        for name in ("a", "b"):
            commit(store, new_version(ObjectId(name), b"x", bucket=BUCKET))
            delete(store, ObjectId(name), bucket=BUCKET)
        for each in store.bucket_versions(BUCKET, "", None, 100):
            delete(store, each.object_id, bucket=BUCKET, version=each.version)
        store.remove_bucket(BUCKET)
        with pytest.raises(NotFound):
            store.bucket_versions(BUCKET, "", None, 100)

    def test_the_bucket_default_stays(self, store: Store) -> None:
        with pytest.raises(Conflict):
            store.remove_bucket(DEFAULT_BUCKET)


class KeptVersionContract:
    """A bucket that keeps versions: nothing is replaced, deletion leaves a marker."""

    @pytest.fixture
    def kept(self, store: Store) -> Store:
        """The store, with versioning on in the bucket `default`."""
        store.set_bucket(DEFAULT_BUCKET, ON)
        return store

    def test_every_write_is_kept_newest_first(self, kept: Store) -> None:
        versions = [put(kept, content) for content in (b"1", b"22", b"333")]
        assert history(kept, KEY) == versions[::-1]
        assert [version.null for version in versions] == [False] * 3
        assert kept.head(DEFAULT_BUCKET, KEY) == versions[2]
        assert listed(kept) == versions[2:]

    def test_a_write_replaces_nothing(self, kept: Store) -> None:
        put(kept, b"1")
        assert commit(kept, new_version(KEY, b"2")).replaced is None

    def test_versions_come_a_page_at_a_time(self, kept: Store) -> None:
        made = [put(kept, bytes(size)) for size in range(1, 6)]
        found = kept.versions(DEFAULT_BUCKET, KEY, None, 2)
        assert found == made[:2:-1]
        assert kept.versions(DEFAULT_BUCKET, KEY, found[-1].version, 2) == made[2:0:-1]
        assert kept.versions(DEFAULT_BUCKET, KEY, made[0].version, 2) == []
        assert kept.versions(DEFAULT_BUCKET, ObjectId("a/"), None, 2) == []

    def test_any_version_is_found_and_read(self, kept: Store) -> None:
        for content in (b"1", b"22"):
            put(kept, content)
        for version, content in zip(history(kept, KEY), (b"22", b"1"), strict=True):
            found = kept.version(DEFAULT_BUCKET, KEY, version.version)
            assert found == version
            assert isinstance(found, Version)
            assert read_all(kept, kept.manifest(found.manifest)) == content
        assert kept.version(DEFAULT_BUCKET, KEY, abroad(1)) is None
        assert kept.version(DEFAULT_BUCKET, ObjectId("b"), history(kept, KEY)[0].version) is None

    def test_a_deletion_leaves_a_marker_and_every_version(self, kept: Store) -> None:
        first = put(kept, b"1")
        removed, marker = delete(kept, KEY)
        assert removed is None
        assert marker is not None
        assert (marker.object_id, marker.null) == (KEY, False)
        assert marker.version > first.version
        assert history(kept, KEY) == [marker, first]
        assert kept.head(DEFAULT_BUCKET, KEY) is None
        assert kept.version(DEFAULT_BUCKET, KEY, marker.version) == marker
        assert listed(kept) == []

    def test_what_is_deleted_is_not_there_to_be_deleted(self, kept: Store) -> None:
        put(kept, b"1")
        delete(kept, KEY)
        with pytest.raises(NotFound):
            delete(kept, KEY)
        with pytest.raises(NotFound):
            delete(kept, "never there")
        assert sizes(kept) == [None, 1]

    def test_a_write_after_a_deletion_finds_the_object_absent(self, kept: Store) -> None:
        put(kept, b"1")
        delete(kept, KEY)
        commit(kept, new_version(KEY, b"22", condition=Condition(must_be_absent=True)))
        assert sizes(kept) == [2, None, 1]

    def test_removing_a_marker_brings_the_object_back(self, kept: Store) -> None:
        first = put(kept, b"1")
        marker = delete(kept, KEY).marker
        assert marker is not None
        assert delete(kept, KEY, version=marker.version) == Deleted(marker, None)
        assert kept.head(DEFAULT_BUCKET, KEY) == first
        assert listed(kept) == [first]

    def test_removing_the_latest_version_shows_the_one_before(self, kept: Store) -> None:
        first, second = put(kept, b"1"), put(kept, b"22")
        assert delete(kept, KEY, version=second.version) == Deleted(second, None)
        assert kept.head(DEFAULT_BUCKET, KEY) == first
        assert delete(kept, KEY, version=first.version) == Deleted(first, None)
        assert history(kept, KEY) == []
        assert listed(kept) == []

    def test_removing_an_older_version_leaves_the_latest(self, kept: Store) -> None:
        first, second = put(kept, b"1"), put(kept, b"22")
        delete(kept, KEY, version=first.version)
        assert history(kept, KEY) == [second]
        with pytest.raises(NotFound):
            delete(kept, KEY, version=first.version)

    def test_the_condition_of_a_removal_is_about_the_version_named(self, kept: Store) -> None:
        first = put(kept, b"1")
        put(kept, b"22")
        with pytest.raises(PreconditionFailed):
            delete(
                kept, KEY, Condition(manifests=frozenset([manifest_of(b"22").digest])), version=first.version
            )
        delete(kept, KEY, Condition(manifests=frozenset([first.manifest])), version=first.version)
        assert sizes(kept) == [2]

    def test_a_version_of_the_same_content_keeps_it_readable(self, kept: Store) -> None:
        first = put(kept, b"one")
        second = put(kept, b"one")
        assert first.version < second.version
        delete(kept, KEY, version=second.version)
        assert read_all(kept, kept.manifest(first.manifest)) == b"one"

    def test_a_restored_version_is_a_new_one_of_the_same_manifest(self, kept: Store) -> None:
        first = put(kept, b"1")
        put(kept, b"22")
        restored = commit(kept, new_version(KEY, b"1", shares=True)).version
        assert restored.manifest == first.manifest
        assert sizes(kept) == [1, 2, 1]

    def test_one_from_another_node_takes_the_place_its_id_gives_it(self, kept: Store) -> None:
        put(kept, b"333", abroad(30))
        oldest = put(kept, b"1", abroad(10))
        put(kept, b"22", abroad(20))
        assert oldest.version == abroad(10)
        assert sizes(kept) == [3, 2, 1]
        head = kept.head(DEFAULT_BUCKET, KEY)
        assert head is not None
        assert head.size == 3

    def test_of_the_same_moment_every_node_orders_alike(self, kept: Store) -> None:
        ids = [abroad(5, "n1"), abroad(5, "n2"), abroad(5, "n3")]
        for size, version in enumerate(ids, 1):
            put(kept, bytes(size), version)
        assert [each.version for each in history(kept, KEY)] == sorted(ids, reverse=True)

    def test_one_that_is_here_already_changes_nothing_wherever_it_is(self, kept: Store) -> None:
        old = put(kept, b"1", abroad(10))
        put(kept, b"22", abroad(20))
        assert put(kept, b"1", abroad(10)) == old
        assert sizes(kept) == [2, 1]

    def test_the_same_id_with_other_content_is_a_conflict(self, kept: Store) -> None:
        put(kept, b"1", abroad(10))
        marker = delete(kept, KEY).marker
        assert marker is not None
        for version in (abroad(10), marker.version):
            with pytest.raises(Conflict):
                put(kept, b"other", version)
        assert sizes(kept) == [None, 1]

    def test_one_older_than_a_deletion_does_not_bring_the_object_back(self, kept: Store) -> None:
        made = put(kept, b"1")
        delete(kept, KEY)
        put(kept, b"22", abroad(made.version.wall_ms - 5))
        assert kept.head(DEFAULT_BUCKET, KEY) is None
        assert sizes(kept) == [None, 1, 2]


class NullVersionContract:
    """Buckets without versioning, and those where it is suspended: one null version, wherever it is."""

    def test_without_versioning_there_is_one_version_and_it_is_null(self, store: Store) -> None:
        first = put(store, b"1")
        done = commit(store, new_version(KEY, b"22"))
        assert (first.null, done.version.null, done.replaced) == (True, True, first)
        assert history(store, KEY) == [done.version]

    def test_without_versioning_a_deletion_removes_all(self, store: Store) -> None:
        first = put(store, b"1")
        assert delete(store, KEY) == Deleted(first, None)
        assert history(store, KEY) == []

    def test_the_version_from_before_versioning_is_kept(self, store: Store) -> None:
        first = put(store, b"1")
        store.set_bucket(DEFAULT_BUCKET, ON)
        second = put(store, b"22")
        assert history(store, KEY) == [second, first]
        assert (second.null, first.null) == (False, True)

    def test_suspended_a_write_replaces_the_null_version_wherever_it_is(self, store: Store) -> None:
        oldest = put(store, b"1")
        store.set_bucket(DEFAULT_BUCKET, ON)
        put(store, b"22")
        store.set_bucket(DEFAULT_BUCKET, SUSPENDED)
        done = commit(store, new_version(KEY, b"333"))
        assert (done.version.null, done.replaced) == (True, oldest)
        assert sizes(store) == [3, 2]
        put(store, b"4444")
        assert sizes(store) == [4, 2]

    def test_suspended_a_deletion_replaces_the_null_version_by_a_null_marker(self, store: Store) -> None:
        store.set_bucket(DEFAULT_BUCKET, ON)
        kept = put(store, b"1")
        store.set_bucket(DEFAULT_BUCKET, SUSPENDED)
        null = put(store, b"22")
        removed, marker = delete(store, KEY)
        assert removed == null
        assert marker is not None
        assert marker.null
        assert history(store, KEY) == [marker, kept]
        done = commit(store, new_version(KEY, b"333"))
        assert done.replaced is None, "a marker is no version"
        assert sizes(store) == [3, 1]

    def test_suspended_a_deletion_without_a_null_version_only_adds_its_marker(self, store: Store) -> None:
        store.set_bucket(DEFAULT_BUCKET, ON)
        put(store, b"1")
        store.set_bucket(DEFAULT_BUCKET, SUSPENDED)
        removed, marker = delete(store, KEY)
        assert removed is None
        assert isinstance(marker, DeleteMarker)
        assert sizes(store) == [None, 1]

    def test_versioning_again_keeps_the_null_marker(self, store: Store) -> None:
        store.set_bucket(DEFAULT_BUCKET, SUSPENDED)
        put(store, b"1")
        delete(store, KEY)
        store.set_bucket(DEFAULT_BUCKET, ON)
        put(store, b"22")
        assert sizes(store) == [2, None]

    def test_suspended_one_from_another_node_is_the_null_version(self, store: Store) -> None:
        store.set_bucket(DEFAULT_BUCKET, ON)
        kept = put(store, b"1", abroad(20))
        store.set_bucket(DEFAULT_BUCKET, SUSPENDED)
        put(store, b"22", abroad(10))
        assert sizes(store) == [1, 2]
        assert history(store, KEY)[1].null
        put(store, b"333", abroad(15))
        assert sizes(store) == [1, 3]
        with pytest.raises(Conflict):
            put(store, b"4444", abroad(12))
        assert history(store, KEY)[0] == kept
        put(store, b"55555", abroad(30))
        assert sizes(store) == [5, 1]

    def test_suspended_a_null_marker_outlives_an_older_null_version(self, store: Store) -> None:
        store.set_bucket(DEFAULT_BUCKET, SUSPENDED)
        made = put(store, b"1")
        delete(store, KEY)
        with pytest.raises(Conflict):
            put(store, b"22", abroad(made.version.wall_ms - 5))
        assert sizes(store) == [None]
