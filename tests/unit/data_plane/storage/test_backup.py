"""A backup is the store as it was at one moment, and neither it nor what is restored from it disturbs the store."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from replicator.data_plane.storage import files
from replicator.data_plane.storage.backup import Backups, restore
from replicator.data_plane.storage.check import check_store
from replicator.data_plane.storage.findings import Finding
from replicator.data_plane.storage.rebuild import rebuild_catalog
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.errors import Conflict, Corrupt, InvalidRequest, QuotaExceeded, Unavailable
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import commit, delete, listed, named, new_version, noise, read_all, upload
from replicator.testing.waiting import wait_until


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    return StoreFolder(tmp_path / "node", open_catalog=rocks, segment_bytes_max=16_384)


@pytest.fixture
def backup_dir(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def contents(store: NodeStore) -> dict[str, bytes]:
    return {str(each.object_id): read_all(store, store.manifest(each.manifest)) for each in listed(store)}


def restored(path: str, data_dir: Path) -> StoreFolder:
    """A store restored from the backup at `path`, that was found sound."""
    restore(Path(path), data_dir)
    folder = StoreFolder(data_dir, open_catalog=rocks, segment_bytes_max=16_384)
    folder.open().close()
    findings: list[Finding] = []
    check_store(str(data_dir), open_catalog=rocks, on_finding=findings.append, read_data=True)
    assert findings == []
    return folder


def test_everything_acknowledged_before_it_is_in_a_backup_made_under_traffic(
    folder: StoreFolder, backup_dir: Path, tmp_path: Path
) -> None:
    with folder.opened() as store:
        traffic = Traffic(store)
        with traffic:
            wait_until(lambda: len(traffic.acknowledged) > 30, "there is something to back up")
            before = dict(traffic.acknowledged)
            path = Backups(store.parts, backup_dir).make("today")
            asked = len(traffic.acknowledged)
            wait_until(lambda: len(traffic.acknowledged) > asked + 10, "traffic goes on")
        after = contents(store)
    with restored(path, tmp_path / "restored").opened() as store:
        found = contents(store)
        assert before.items() <= found.items()
        assert found.items() <= after.items()
        commit(store, new_version("only here", noise(1, 100)))
    with folder.opened() as store:
        assert contents(store) == after
    findings: list[Finding] = []
    check_store(str(folder.path), open_catalog=rocks, on_finding=findings.append, read_data=True)
    assert findings == []


class Traffic:
    """A thread that uploads objects, one after the other, while the block lasts."""

    def __init__(self, store: NodeStore) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self._store = store
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ends.is_set():
            number = len(self.acknowledged)
            data = noise(number, 300 + 40 * (number % 100))
            upload(self._store, f"object {number:05}", data, block_bytes=2000)
            self.acknowledged[f"object {number:05}"] = data


def test_what_is_changed_afterwards_does_not_change_the_backup(
    folder: StoreFolder, backup_dir: Path, tmp_path: Path
) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", b"first"))
        store.add(named(b"of an upload that has not ended"))
        path = Backups(store.parts, backup_dir).make("first")
        commit(store, new_version("a", b"second"))
        commit(store, new_version("b", b"later"))
        delete(store, "a")
    with restored(path, tmp_path / "restored").opened() as store:
        assert contents(store) == {"a": b"first"}
    with folder.opened() as store:
        assert contents(store) == {"b": b"later"}


def test_a_store_without_anything_has_a_backup_too(
    folder: StoreFolder, backup_dir: Path, tmp_path: Path
) -> None:
    with folder.opened() as store:
        path = Backups(store.parts, backup_dir).make("empty")
    with restored(path, tmp_path / "restored").opened() as store:
        assert contents(store) == {}


def test_several_backups_stand_side_by_side(folder: StoreFolder, backup_dir: Path, tmp_path: Path) -> None:
    with folder.opened() as store:
        backups = Backups(store.parts, backup_dir)
        paths = []
        for number in range(3):
            commit(store, new_version(f"object {number}", noise(number, 100)))
            paths.append(backups.make(f"backup-{number}"))
        with pytest.raises(Conflict):
            backups.make("backup-1")
    for number, path in enumerate(paths):
        with restored(path, tmp_path / f"restored {number}").opened() as store:
            assert len(contents(store)) == number + 1


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\0b", ".hidden", "a.partial", "é", "x" * 129])
def test_a_name_that_is_no_plain_name_is_refused(folder: StoreFolder, backup_dir: Path, name: str) -> None:
    with folder.opened() as store, pytest.raises(InvalidRequest):
        Backups(store.parts, backup_dir).make(name)
    assert not backup_dir.exists()


def test_without_a_folder_there_are_no_backups(folder: StoreFolder) -> None:
    with folder.opened() as store, pytest.raises(InvalidRequest, match="--backup-dir"):
        Backups(store.parts, None).make("today")


@pytest.mark.parametrize("call", ["link", "rename"])
def test_a_backup_that_fails_leaves_nothing_and_the_store_goes_on(
    folder: StoreFolder, backup_dir: Path, call: str
) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", b"first"))
        backups = Backups(store.parts, backup_dir)
        with (
            mock.patch.object(os, call, side_effect=OSError(errno.EXDEV, os.strerror(errno.EXDEV))),
            pytest.raises(Unavailable),
        ):
            backups.make("today")
        assert list(backup_dir.iterdir()) == []
        commit(store, new_version("b", b"second"))
        backups.make("today")
    assert folder.failures == []


def test_half_a_backup_is_removed_at_the_next_start_and_not_restored(
    folder: StoreFolder, backup_dir: Path, tmp_path: Path
) -> None:
    half = backup_dir / "today.partial"
    (half / "segments").mkdir(parents=True)
    (half / "catalog").mkdir()
    with pytest.raises(InvalidRequest):
        restore(half, tmp_path / "restored")
    with folder.opened() as store:
        Backups(store.parts, backup_dir)
    assert not half.exists()


def test_a_backup_that_another_node_makes_is_left_alone(folder: StoreFolder, backup_dir: Path) -> None:
    making = backup_dir / "today.partial"
    making.mkdir(parents=True)
    lock = files.lock_folder(str(making))
    with folder.opened() as store:
        backups = Backups(store.parts, backup_dir)
        with pytest.raises(Conflict, match="another node"):
            backups.make("today")
        assert making.exists()
        os.close(lock)
        Backups(store.parts, backup_dir)
        assert not making.exists()
        backups.make("today")


def test_no_store_is_opened_and_no_command_works_on_a_backup(folder: StoreFolder, backup_dir: Path) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", b"first"))
        path = Backups(store.parts, backup_dir).make("today")
        before = {file: file.stat().st_mtime_ns for file in Path(path).rglob("*")}
        with pytest.raises(InvalidRequest, match="replicator store restore"):
            StoreFolder(Path(path), open_catalog=rocks).open()
        for work in (check_store, rebuild_catalog):
            with pytest.raises(InvalidRequest, match="replicator store restore"):
                work(path, open_catalog=rocks, on_finding=lambda _: None)
    assert {file: file.stat().st_mtime_ns for file in Path(path).rglob("*")} == before


def test_the_data_folder_of_a_node_is_no_backup(folder: StoreFolder, tmp_path: Path) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", b"first"))
    with pytest.raises(InvalidRequest, match="no complete backup"):
        restore(folder.path, tmp_path / "restored")


def test_a_store_does_not_append_to_a_segment_that_a_backup_has_too(
    folder: StoreFolder, backup_dir: Path, tmp_path: Path
) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", b"first"))
        path = Backups(store.parts, backup_dir).make("today")
    # A power cut may take the header of a segment that was only begun.
    os.truncate(folder.segment(2), 0)
    before = (Path(path) / "segments" / folder.segment(1).name).read_bytes()
    with folder.opened() as store:
        commit(store, new_version("b", b"second"))
    assert folder.segment(1).read_bytes() == before
    with folder.opened() as store:
        assert contents(store) == {"a": b"first", "b": b"second"}


def test_a_segment_that_has_a_second_name_is_not_cut(folder: StoreFolder, tmp_path: Path) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", b"first"))
    with folder.segment(1).open("ab") as file:
        file.write(b"torn")
    os.link(folder.segment(1), tmp_path / "second name")
    with pytest.raises(Corrupt, match="second name"):
        folder.open()
    assert folder.segment(1).read_bytes().endswith(b"torn")
    (tmp_path / "second name").unlink()
    with folder.opened() as store:
        assert contents(store) == {"a": b"first"}


def test_backups_of_a_store_that_is_not_written_to_add_no_segments(
    folder: StoreFolder, backup_dir: Path, tmp_path: Path
) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", b"first"))
        backups = Backups(store.parts, backup_dir)
        paths = []
        for number in range(3):
            paths.append(backups.make(f"backup-{number}"))
            store.post(number, 1, b"a row that is in the catalog alone")
        assert len(folder.segments()) == 2
        commit(store, new_version("b", b"second"))
    for path in paths:
        with restored(path, tmp_path / Path(path).name).opened() as store:
            assert contents(store) == {"a": b"first"}
            commit(store, new_version("c", b"third"))


def test_a_folder_on_another_disk_is_refused_at_once(folder: StoreFolder) -> None:
    there = Path("/dev/shm/replicator-no-backups")
    with folder.opened() as store:
        if not there.parent.is_dir() or there.parent.stat().st_dev == folder.path.stat().st_dev:
            pytest.skip("/dev/shm is not another file system")
        with pytest.raises(InvalidRequest, match="another disk"):
            Backups(store.parts, there)


def test_a_relative_folder_is_that_of_the_start(
    folder: StoreFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with folder.opened() as store:
        assert Backups(store.parts, Path("backups")).make("today") == str(tmp_path / "backups" / "today")


def test_nothing_is_restored_over_a_store(folder: StoreFolder, backup_dir: Path) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", b"first"))
        path = Backups(store.parts, backup_dir).make("today")
        with pytest.raises(Conflict):
            restore(Path(path), folder.path)
    with pytest.raises(Conflict, match="not empty"):
        restore(Path(path), folder.path)
    with folder.opened() as store:
        assert contents(store) == {"a": b"first"}


def test_a_restore_that_died_is_begun_again(folder: StoreFolder, backup_dir: Path, tmp_path: Path) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", b"first"))
        path = Backups(store.parts, backup_dir).make("today")
    data_dir = tmp_path / "restored"
    for renames in (0, 1):
        with mock.patch.object(os, "rename", dying_after(renames)), pytest.raises(KeyboardInterrupt):
            restore(Path(path), data_dir)
    assert sorted(os.listdir(data_dir)) == ["LOCK", "restoring", "segments"]
    with restored(path, data_dir).opened() as store:
        assert contents(store) == {"a": b"first"}
    assert not (data_dir / "restoring").exists()


def dying_after(renames: int) -> Callable[[Path, Path], None]:
    real, left = os.rename, iter(range(renames))

    def rename(source: Path, target: Path) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        real(source, target)

    return rename


def test_a_restored_store_shares_no_file_with_the_backup(
    folder: StoreFolder, backup_dir: Path, tmp_path: Path
) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", b"first"))
        path = Backups(store.parts, backup_dir).make("today")
    restore(Path(path), tmp_path / "restored")
    kept = {file.stat().st_ino for file in Path(path).rglob("*")}
    assert kept.isdisjoint(file.stat().st_ino for file in (tmp_path / "restored").rglob("*"))


def test_a_nearly_full_disk_refuses_a_backup_and_nothing_else(
    folder: StoreFolder, backup_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with folder.opened() as store:
        commit(store, new_version("kept", b"kept"))
        with monkeypatch.context() as patched:
            patched.setattr(files, "free_bytes", lambda _: 9_000_000)
            with pytest.raises(QuotaExceeded, match="free space"):
                Backups(store.parts, backup_dir).make("today")
        assert not backup_dir.exists() or not list(backup_dir.iterdir())
        delete(store, "kept")
        assert contents(store) == {}
