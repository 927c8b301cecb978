"""What every store promises about scans: they tell the same as listings. See `store_contract`."""
# ruff: noqa: D102  (the names of the tests are the promises)

from __future__ import annotations

import itertools

import pytest

from replicator.data_plane.ports import DeleteMarker, Scanned, Store, Versioning
from replicator.kernel.errors import NotFound
from replicator.kernel.names import DEFAULT_BUCKET, BucketName
from replicator.testing.objects import commit, delete, listed, new_version

KEYS = sorted(
    ["a", "a ", "a!", "a/", "a/b", "a/b/c", "a0", "b", "é", "日本/語", "\uffee", "\U0001d4b3"], key=str.encode
)
BOUNDS = ["", "a", "a/", "a/b", "aa", "b", "日", "\uffff", "\U0001d4b3", "~"]
KEPT = BucketName("kept")


class ScanContract:
    """Latest versions, or all of them, in byte order between two bounds."""

    def test_a_scan_tells_the_latest_versions(self, store: Store) -> None:
        for key in reversed(KEYS):
            commit(store, new_version(key, key.encode()))
        commit(store, new_version("a", b"newer"))
        commit(store, new_version("gone", b"x"))
        delete(store, "gone")
        expected = [Scanned(each.object_id, each.version, each.manifest, each.size) for each in listed(store)]
        assert [each.object_id for each in expected] == KEYS
        assert list(store.scan(DEFAULT_BUCKET, "")) == expected

    @pytest.mark.parametrize("all_versions", [False, True])
    def test_a_scan_has_a_prefix_and_two_bounds(self, store: Store, all_versions: bool) -> None:
        for key in KEYS:
            commit(store, new_version(key, b"x"))
        for prefix, after, until in itertools.product(["", "a", "a/", "日", "zz", "a\0"], BOUNDS, BOUNDS):
            scanned = store.scan(DEFAULT_BUCKET, prefix, after=after, until=until, all_versions=all_versions)
            expected = [
                key for key in KEYS if key.startswith(prefix) and key > after and (not until or key <= until)
            ]
            assert [each.object_id for each in scanned] == expected, (prefix, after, until)

    def test_a_scan_of_all_versions_tells_markers_too_newest_first(self, store: Store) -> None:
        store.set_bucket(KEPT, Versioning.ON)
        for key in ("a", "b"):
            for body in (b"1", b"22"):
                commit(store, new_version(key, body, bucket=KEPT))
        delete(store, "a", bucket=KEPT)
        assert list(store.scan(KEPT, "", all_versions=True)) == [
            Scanned(each.object_id, each.version, b"", 0)
            if isinstance(each, DeleteMarker)
            else Scanned(each.object_id, each.version, each.manifest, each.size)
            for each in store.bucket_versions(KEPT, "", None, 100)
        ]
        assert [each.object_id for each in store.scan(KEPT, "")] == ["b"]
        assert {each.object_id for each in store.scan(KEPT, "", after="a", all_versions=True)} == {"b"}

    def test_a_scan_sees_one_moment_and_one_bucket(self, store: Store) -> None:
        store.set_bucket(KEPT, Versioning.OFF)
        commit(store, new_version("elsewhere", b"x", bucket=KEPT))
        commit(store, new_version("a", b"x"))
        scanned = store.scan(DEFAULT_BUCKET, "")
        assert next(scanned).object_id == "a"
        commit(store, new_version("b", b"x"))
        assert list(scanned) == []

    def test_a_scan_of_a_bucket_that_is_not_there_is_not_found(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.scan(BucketName("absent"), "")
