"""A store that cannot be trusted does not open: it says what is wrong and leaves every file as it is."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from replicator.data_plane.storage.record import SEGMENT_HEADER_BYTES
from replicator.kernel.errors import Conflict, Corrupt, Unavailable
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import commit, listed, named, new_version, noise, read_all
from replicator.testing.storage_faults import failing

PAYLOAD = noise(0, 200)
# Two commits fill it.
SEGMENT_BYTES_MAX = 1000


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    """Two segments of acknowledged chunks, and a tail that was not committed."""
    folder = StoreFolder(tmp_path / "node", segment_bytes_max=SEGMENT_BYTES_MAX)
    fill(folder)
    return folder


@pytest.fixture
def folder_on_disk(tmp_path: Path) -> StoreFolder:
    folder = StoreFolder(tmp_path / "node", segment_bytes_max=SEGMENT_BYTES_MAX, open_catalog=rocks)
    fill(folder)
    return folder


def fill(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", PAYLOAD))
        commit(store, new_version("b", b"second"))
        commit(store, new_version("c", b"third"))
        store.add(named(b"not committed"))
    assert len(folder.segments()) == 2


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "LOCK" and not path.name.startswith("LOG")
    }


def cut_short(folder: StoreFolder) -> None:
    with folder.segment(1).open("r+b") as file:
        file.truncate(folder.segment(1).stat().st_size - 1)


def empty(folder: StoreFolder) -> None:
    folder.segment(1).write_bytes(b"")


def remove(folder: StoreFolder) -> None:
    folder.segment(1).unlink()


def swap(folder: StoreFolder) -> None:
    first, second = folder.segment(1).read_bytes(), folder.segment(2).read_bytes()
    folder.segment(1).write_bytes(second.ljust(len(first), b"\0"))
    folder.segment(2).write_bytes(first)


@pytest.mark.parametrize("damage", [cut_short, empty, remove, swap])
def test_a_segment_that_lost_acknowledged_bytes(
    folder: StoreFolder, damage: Callable[[StoreFolder], None]
) -> None:
    damage(folder)
    before = files_of(folder.path)
    with pytest.raises(Corrupt, match=r"segment [12]") as caught:
        folder.open()
    assert caught.value.data["segment"] in (1, 2)
    assert files_of(folder.path) == before


@pytest.mark.parametrize("offset", [0, 8, 9, 15, 16, 31, 32, 47, 48, SEGMENT_HEADER_BYTES - 1])
def test_a_segment_whose_header_is_damaged(folder: StoreFolder, offset: int) -> None:
    data = bytearray(folder.segment(2).read_bytes())
    data[offset] ^= 0x10
    folder.segment(2).write_bytes(data)
    before = files_of(folder.path)
    with pytest.raises(Corrupt, match="segment 2 does not begin with its header"):
        folder.open()
    assert files_of(folder.path) == before


def test_a_refused_store_opens_once_the_file_is_back(folder: StoreFolder) -> None:
    shutil.move(folder.segment(1), folder.path / "aside")
    with pytest.raises(Corrupt, match="segment 1 is missing"):
        folder.open()
    shutil.move(folder.path / "aside", folder.segment(1))
    with folder.opened() as store:
        head = store.head(DEFAULT_BUCKET, ObjectId("a"))
        assert head is not None
        assert read_all(store, store.manifest(head.manifest)) == PAYLOAD


def test_a_catalog_that_is_gone(folder_on_disk: StoreFolder) -> None:
    shutil.rmtree(folder_on_disk.path / "catalog")
    before = files_of(folder_on_disk.path)
    for _ in range(2):
        with pytest.raises(Corrupt, match="replicator store rebuild-catalog"):
            folder_on_disk.open()
    assert files_of(folder_on_disk.path) == before
    assert not (folder_on_disk.path / "catalog").exists()


def test_a_catalog_that_is_empty(folder_on_disk: StoreFolder, tmp_path: Path) -> None:
    catalog = folder_on_disk.path / "catalog"
    shutil.move(catalog, tmp_path / "aside")
    catalog.mkdir()
    before = files_of(folder_on_disk.path / "segments")
    with pytest.raises(Corrupt, match="replicator store rebuild-catalog"):
        folder_on_disk.open()
    assert files_of(folder_on_disk.path / "segments") == before
    shutil.copytree(tmp_path / "aside", catalog, dirs_exist_ok=True)
    with folder_on_disk.opened() as store:
        assert [version.object_id for version in listed(store, limit=9)] == ["a", "b", "c"]


def test_a_catalog_that_lost_the_file_that_names_the_rest(folder_on_disk: StoreFolder) -> None:
    current = folder_on_disk.path / "catalog" / "CURRENT"
    name = current.read_bytes()
    current.unlink()
    before = files_of(folder_on_disk.path)
    for _ in range(2):
        with pytest.raises(Unavailable, match="catalog"):
            folder_on_disk.open()
    assert files_of(folder_on_disk.path) == before
    current.write_bytes(name)
    with folder_on_disk.opened() as store:
        assert store.head(DEFAULT_BUCKET, ObjectId("a")) is not None


def test_the_catalog_of_another_store(folder: StoreFolder, tmp_path: Path) -> None:
    other = StoreFolder(tmp_path / "other")
    other.open().close()
    before = files_of(folder.path)
    folder.open_catalog = other.open_catalog
    with pytest.raises(Corrupt, match="belongs to another store"):
        folder.open()
    assert files_of(folder.path) == before


def test_a_disk_that_does_not_read(folder: StoreFolder) -> None:
    with failing("preadv", errno.EIO), pytest.raises(Unavailable, match="does not open"):
        folder.open()
    folder.open().close()


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "node").write_bytes(b"")
    with pytest.raises(Unavailable, match="does not open"):
        StoreFolder(tmp_path / "node").open()


def test_a_data_folder_in_use_by_this_process(folder: StoreFolder) -> None:
    with folder.opened(), pytest.raises(Conflict, match="one process per folder"):
        folder.open()
    folder.open().close()


def test_a_data_folder_in_use_by_another_process(folder: StoreFolder) -> None:
    program = """
import os, sys
from replicator.data_plane.storage.files import lock_folder
lock_folder(sys.argv[1])
print(os.getpid(), flush=True)
sys.stdin.read()
"""
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        pid = holder.stdout.readline().strip()
        with pytest.raises(Conflict, match=f"in use by process {pid}") as caught:
            folder.open()
        assert str(folder.path) in caught.value.message
        holder.kill()
    folder.open().close()
