"""The calls to the operating system: whole writes and reads, and names that are durable."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import pytest

from replicator.data_plane.storage import files
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import commit, new_version
from replicator.testing.storage_faults import failing


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    descriptor = files.create_file(str(tmp_path / "file"))
    yield descriptor
    os.close(descriptor)


def test_short_writes_are_continued(descriptor: int) -> None:
    write = os.pwritev

    def short(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        return write(descriptor, [b"".join(buffers)[:7]], offset)

    with mock.patch.object(os, "pwritev", short):
        files.write_at(descriptor, [b"0123", b"", bytearray(b"456789"), memoryview(b"abcdefgh"), b"i"], 3)
    assert os.pread(descriptor, 100, 0) == bytes(3) + b"0123456789abcdefghi"


def test_short_reads_are_continued(descriptor: int) -> None:
    files.write_at(descriptor, [b"0123456789abcdef"], 0)
    read = os.preadv

    def short(descriptor: int, buffers: Sequence[memoryview], offset: int, flags: int) -> int:
        return read(descriptor, [buffers[0][:3]], offset, flags)

    parts = [bytearray(1), bytearray(7), bytearray(6)]
    with mock.patch.object(os, "preadv", short):
        assert files.read_at(descriptor, parts, 1) == 14
    assert b"".join(parts) == b"123456789abcde"


def test_more_buffers_than_one_call_takes(descriptor: int) -> None:
    data = [bytes([number % 251]) for number in range(3000)]
    files.write_at(descriptor, data, 0)
    parts = [bytearray(1) for _ in data]
    assert files.read_at(descriptor, parts, 0) == 3000
    assert parts == data


def test_a_read_behind_the_end_says_how_much_there_was(descriptor: int) -> None:
    files.write_at(descriptor, [b"12345"], 0)
    assert files.read_at(descriptor, [bytearray(3), bytearray(3)], 1) == 4
    assert files.read_at(descriptor, [bytearray(3)], 5) == 0


@pytest.mark.parametrize("reason", [errno.EOPNOTSUPP, errno.EAGAIN])
def test_a_read_that_may_not_wait_gives_up(descriptor: int, reason: int) -> None:
    with failing("preadv", reason), pytest.raises(BlockingIOError):
        files.read_at(descriptor, [bytearray(1)], 0, wait=False)


def test_a_system_that_cannot_read_without_waiting(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_CAN_READ_CACHED", False)
    with pytest.raises(BlockingIOError):
        files.read_at(descriptor, [bytearray(1)], 0, wait=False)


def test_the_names_of_new_folders_and_segments_are_durable(tmp_path: Path) -> None:
    """A store whose folder vanishes in a power cut lost everything it acknowledged."""
    synced: list[str] = []
    sync = files.sync_folder

    def spy(path: str) -> None:
        synced.append(os.path.realpath(path))
        sync(path)

    data = tmp_path / "above" / "node"
    with mock.patch.object(files, "sync_folder", spy):
        with StoreFolder(data).opened() as store:
            assert {str(folder) for folder in (tmp_path, data.parent, data)} <= set(synced)
            synced.clear()
            commit(store, new_version("a", b"x"))
            assert synced == [str(data / "segments")]
        synced.clear()
        # What an earlier process made and did not live to sync.
        with StoreFolder(tmp_path / "above" / "other").opened():
            assert str(tmp_path / "above" / "other" / "segments") in synced
