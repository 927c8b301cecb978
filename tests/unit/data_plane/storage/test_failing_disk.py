"""Disks that fill up or fail while the store writes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from replicator.data_plane.ports import Added
from replicator.data_plane.storage import files
from replicator.data_plane.storage.record import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES
from replicator.data_plane.storage.room import BALLAST_BYTES
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.digest import Digest
from replicator.kernel.errors import QuotaExceeded, StoreFailed, Unavailable
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import LongObject, commit, delete, listed, named, new_version, noise, read_all
from replicator.testing.storage_faults import FailingCatalog, failing, full_disk, no_new_files

KEPT = noise(0, 200)
LOST = noise(1, 200)
RECORD_BYTES = RECORD_HEADER_BYTES + 200


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    return StoreFolder(tmp_path)


def content(store: NodeStore, object_id: str) -> bytes:
    head = store.head(DEFAULT_BUCKET, ObjectId(object_id))
    assert head is not None
    return read_all(store, store.manifest(head.manifest))


@pytest.mark.parametrize("room", [0, 1, RECORD_HEADER_BYTES, RECORD_BYTES, 2 * RECORD_BYTES - 1])
def test_a_full_disk_refuses_the_write_and_the_store_goes_on(folder: StoreFolder, room: int) -> None:
    with folder.opened() as store:
        commit(store, new_version("kept", KEPT))
        with full_disk(after_bytes=room), pytest.raises(QuotaExceeded):
            store.add(named(noise(3, RECORD_BYTES * 2)))
        with full_disk(after_bytes=room), pytest.raises(QuotaExceeded):
            commit(store, new_version("lost", LOST, noise(2, 200)))
        assert content(store, "kept") == KEPT
        assert store.head(DEFAULT_BUCKET, ObjectId("lost")) is None
        assert store.locate([Digest.of(LOST)]) == [None]
        assert commit(store, new_version("small", b"small")).added == Added(1, 5)
        assert commit(store, new_version("lost", LOST)).added == Added(1, 200)
    assert folder.failures == []
    with folder.opened() as store:
        assert [content(store, key) for key in ("kept", "small", "lost")] == [KEPT, b"small", LOST]


def test_what_the_first_write_after_a_restart_left_behind_does_not_keep_the_store_from_opening(
    folder: StoreFolder,
) -> None:
    with folder.opened() as store:
        commit(store, new_version("kept", KEPT))
    with folder.opened() as store:
        with full_disk(after_bytes=RECORD_BYTES), pytest.raises(QuotaExceeded):
            store.add(named(noise(3, RECORD_BYTES * 2)))
        # As compaction and backups begin.
        store.parts.chunks.roll()
        commit(store, new_version("new", LOST))
    with folder.opened() as store:
        assert [content(store, key) for key in ("kept", "new")] == [KEPT, LOST]


def test_a_full_disk_refuses_even_a_copy_that_shares_all_its_bytes(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("kept", KEPT))
        with full_disk(), pytest.raises(QuotaExceeded):
            commit(store, new_version("copy", KEPT, shares=True))
        assert [version.object_id for version in listed(store)] == ["kept"]


def test_a_quota_that_leaves_no_room_for_the_ballast_still_lets_objects_be_deleted(
    folder: StoreFolder,
) -> None:
    with folder.opened() as store:
        for key in ("first", "second"):
            commit(store, new_version(key, KEPT))
        with full_disk():
            delete(store, "first")
            commit(store, new_version("third", KEPT))
            delete(store, "second")
        ballast = folder.path / "BALLAST"
        assert ballast.stat().st_size == 0
        commit(store, new_version("fourth", KEPT))
        assert ballast.stat().st_size == BALLAST_BYTES


def test_a_full_disk_still_lets_objects_be_deleted(folder: StoreFolder) -> None:
    with folder.opened() as store:
        for key in ("first", "second", "kept"):
            commit(store, new_version(key, KEPT))
        with full_disk():
            delete(store, "first")
            delete(store, "second")
        assert [version.object_id for version in listed(store)] == ["kept"]
        commit(store, new_version("copy", KEPT, shares=True))
    assert folder.failures == []
    with folder.opened() as store:
        assert [version.object_id for version in listed(store)] == ["copy", "kept"]
        assert content(store, "copy") == KEPT


@pytest.mark.parametrize("room", [0, SEGMENT_HEADER_BYTES - 1])
def test_a_disk_too_full_for_the_first_segment(folder: StoreFolder, room: int) -> None:
    with folder.opened() as store:
        with full_disk(after_bytes=room), pytest.raises(QuotaExceeded):
            store.add(named(KEPT))
        assert folder.segments() == []
        commit(store, new_version("kept", KEPT))
    with folder.opened() as store:
        assert content(store, "kept") == KEPT


def test_a_file_system_that_takes_no_more_files(folder: StoreFolder) -> None:
    with folder.opened() as store:
        with no_new_files(), pytest.raises(QuotaExceeded):
            commit(store, new_version("kept", KEPT))
        commit(store, new_version("kept", KEPT))
        assert content(store, "kept") == KEPT


def test_the_reserve_is_left_free(tmp_path: Path) -> None:
    with StoreFolder(tmp_path, reserve_bytes=2**60).opened() as store:
        with pytest.raises(QuotaExceeded, match="free space"):
            commit(store, new_version("a", KEPT))
        commit(store, new_version("empty"))
        delete(store, "empty")


def fails_to_sync(store: NodeStore) -> None:
    with failing("fdatasync", errno.EIO), pytest.raises(StoreFailed, match="sync"):
        commit(store, new_version("lost", LOST))


def fails_to_write(store: NodeStore) -> None:
    with failing("pwritev", errno.EIO), pytest.raises(StoreFailed, match="write"):
        commit(store, new_version("lost", LOST))


def fails_to_stage(store: NodeStore) -> None:
    with failing("fdatasync", errno.EIO), pytest.raises(StoreFailed, match="sync"):
        LongObject().stage(store)


def fails_to_say_how_much_is_free(store: NodeStore) -> None:
    with failing("statvfs", errno.EIO), pytest.raises(StoreFailed, match="free space"):
        store.add(named(LOST))


@pytest.mark.parametrize(
    "fail", [fails_to_sync, fails_to_write, fails_to_stage, fails_to_say_how_much_is_free]
)
def test_a_failed_disk_ends_writing_until_the_store_is_opened_again(
    folder: StoreFolder, fail: Callable[[NodeStore], None]
) -> None:
    with folder.opened() as store:
        commit(store, new_version("kept", KEPT))
        fail(store)
        require_failed(store)
        assert content(store, "kept") == KEPT
        assert store.head(DEFAULT_BUCKET, ObjectId("lost")) is None
    assert len(folder.failures) == 1
    with folder.opened() as store:
        assert content(store, "kept") == KEPT
        # Its bytes may be on the disk all the same; what counts is that it is not there in part.
        if fail is not fails_to_sync:
            assert store.head(DEFAULT_BUCKET, ObjectId("lost")) is None
        elif store.head(DEFAULT_BUCKET, ObjectId("lost")) is not None:
            assert content(store, "lost") == LOST
        commit(store, new_version("lost", LOST))
        assert content(store, "lost") == LOST


def require_failed(store: NodeStore) -> None:
    """Every way of writing says that the store takes no more."""
    for write in (
        store.require_writable,
        store.checkpoint,
        lambda: store.add(named(noise(9, 10))),
        lambda: commit(store, new_version("later", b"later")),
        lambda: delete(store, "kept"),
        lambda: store.post(1, 1, b""),
        lambda: LongObject().stage(store),
    ):
        with pytest.raises(StoreFailed):
            write()


def test_a_folder_that_does_not_sync_fails_the_store(folder: StoreFolder) -> None:
    with folder.opened() as store:
        with failing("fsync", errno.EIO), pytest.raises(StoreFailed, match="folder"):
            commit(store, new_version("lost", LOST))
        with pytest.raises(StoreFailed):
            commit(store, new_version("later", b"later"))
    with folder.opened() as store:
        commit(store, new_version("later", b"later"))


@pytest.mark.parametrize("failure", [StoreFailed("no"), RuntimeError("no")], ids=["expected", "unexpected"])
def test_a_catalog_that_fails_to_write_fails_the_store(folder: StoreFolder, failure: Exception) -> None:
    catalog = FailingCatalog(folder.open_catalog(""))
    folder.open_catalog = lambda _: catalog
    with folder.opened() as store:
        commit(store, new_version("kept", KEPT))
        catalog.failure = failure
        with pytest.raises(StoreFailed):
            commit(store, new_version("lost", LOST))
        catalog.failure = None
        require_failed(store)
        assert content(store, "kept") == KEPT
    assert len(folder.failures) == 1
    with folder.opened() as store:
        # The log had it before the catalog failed.
        assert content(store, "lost") == LOST
        assert store.add(named(LOST)) == Added(0, 0)
        delete(store, "lost")


def test_a_disk_that_somebody_else_has_filled_still_takes_deletes(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("gone", KEPT))
        commit(store, new_version("kept", KEPT, LOST))
        ballast = folder.path / "BALLAST"
        assert ballast.stat().st_size == BALLAST_BYTES
        with mock.patch.object(files, "free_bytes", return_value=0):
            with pytest.raises(QuotaExceeded):
                commit(store, new_version("lost", KEPT))
            delete(store, "gone")
            assert ballast.stat().st_size == 0
            assert content(store, "kept") == KEPT + LOST
        commit(store, new_version("more", KEPT))
        assert ballast.stat().st_size == BALLAST_BYTES
    assert folder.failures == []


def test_too_many_open_files_refuse_a_write_and_no_more(folder: StoreFolder) -> None:
    with folder.opened() as store:
        with failing("open", errno.EMFILE), pytest.raises(Unavailable, match="too many files"):
            commit(store, new_version("later", KEPT))
        commit(store, new_version("later", KEPT))
    assert folder.failures == []
