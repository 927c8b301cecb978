"""Committed bytes that rot: a read finds it and gives none of them out."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from replicator.data_plane.storage.record import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.errors import Corrupt
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import commit, new_version, ref_of
from replicator.testing.storage_faults import failing

FIRST, SECOND = b"first", b"other"
RECORD_BYTES = RECORD_HEADER_BYTES + len(FIRST)


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    return StoreFolder(tmp_path)


@pytest.fixture
def store(folder: StoreFolder) -> Iterator[NodeStore]:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST, SECOND))
        yield store


def overwrite(folder: StoreFolder, offset: int, data: bytes) -> None:
    with folder.segment().open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_flipped_bit_anywhere_in_a_record(folder: StoreFolder, store: NodeStore) -> None:
    intact = folder.segment().read_bytes()
    for offset in range(SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES + RECORD_BYTES):
        overwrite(folder, offset, bytes([intact[offset] ^ 1 << offset % 8]))
        with pytest.raises(Corrupt) as caught:
            store.read([ref_of(FIRST)])
        assert caught.value.data["digest"] == str(ref_of(FIRST).digest)
        overwrite(folder, offset, intact[offset : offset + 1])
    assert bytes(store.read([ref_of(FIRST), ref_of(SECOND)])) == FIRST + SECOND


def test_one_damaged_record_keeps_the_whole_batch_back_and_is_named(
    folder: StoreFolder, store: NodeStore
) -> None:
    overwrite(folder, SEGMENT_HEADER_BYTES + 2 * RECORD_BYTES - 1, b"?")
    with pytest.raises(Corrupt) as caught:
        store.read([ref_of(FIRST), ref_of(SECOND)])
    assert caught.value.data["digest"] == str(ref_of(SECOND).digest)
    assert bytes(store.read([ref_of(FIRST)])) == FIRST


def test_a_read_that_may_not_wait_checks_all_the_same(folder: StoreFolder, store: NodeStore) -> None:
    overwrite(folder, SEGMENT_HEADER_BYTES + RECORD_BYTES - 1, b"?")
    with pytest.raises((Corrupt, BlockingIOError)):
        store.read([ref_of(FIRST)], wait=False)


def test_two_records_in_each_others_place(folder: StoreFolder, store: NodeStore) -> None:
    records = folder.segment().read_bytes()[SEGMENT_HEADER_BYTES:]
    overwrite(folder, SEGMENT_HEADER_BYTES, records[RECORD_BYTES:] + records[:RECORD_BYTES])
    for payload in (FIRST, SECOND):
        with pytest.raises(Corrupt, match="another chunk"):
            store.read([ref_of(payload)])


@pytest.mark.parametrize("where", [SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES])
def test_a_zeroed_page(folder: StoreFolder, store: NodeStore, where: int) -> None:
    overwrite(folder, where, bytes(RECORD_BYTES))
    with pytest.raises(Corrupt):
        store.read([ref_of(FIRST)])


def test_a_file_that_lost_its_end(folder: StoreFolder, store: NodeStore) -> None:
    with folder.segment().open("r+b") as file:
        file.truncate(SEGMENT_HEADER_BYTES + RECORD_BYTES + 10)
    with pytest.raises(Corrupt):
        store.read([ref_of(SECOND)])
    assert bytes(store.read([ref_of(FIRST)])) == FIRST


def test_a_disk_that_does_not_read(store: NodeStore) -> None:
    with failing("preadv", errno.EIO), pytest.raises(Corrupt, match="cannot be read"):
        store.read([ref_of(FIRST)])
    assert bytes(store.read([ref_of(FIRST)])) == FIRST


def test_the_record_that_cannot_be_read_is_the_one_named(folder: StoreFolder, store: NodeStore) -> None:
    read = os.preadv
    bad = SEGMENT_HEADER_BYTES + RECORD_BYTES

    def preadv(descriptor: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        if offset <= bad < offset + sum(map(len, buffers)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, buffers, offset, flags)

    with mock.patch.object(os, "preadv", preadv), pytest.raises(Corrupt) as caught:
        store.read([ref_of(FIRST), ref_of(SECOND)])
    assert caught.value.data["digest"] == str(ref_of(SECOND).digest)
    assert store.locate([ref_of(FIRST).digest, ref_of(SECOND).digest], intact=True) == [len(FIRST), None]


def test_damage_is_known_after_a_restart_until_a_good_copy_has_come(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path / "restarted")
    with folder.opened() as store:
        commit(store, new_version("a", FIRST, SECOND))
        overwrite(folder, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES, b"F")
        with pytest.raises(Corrupt):
            store.read([ref_of(FIRST)])
    with folder.opened() as store:
        assert store.has_damage
        assert commit(store, new_version("b", FIRST)).added.chunks == 1
        assert bytes(store.read([ref_of(FIRST)])) == FIRST
    with folder.opened() as store:
        assert not store.has_damage
        assert bytes(store.read([ref_of(FIRST)])) == FIRST


def test_a_damaged_chunk_is_replaced_by_the_next_good_copy(folder: StoreFolder, store: NodeStore) -> None:
    overwrite(folder, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES, b"F")
    with pytest.raises(Corrupt):
        store.read([ref_of(FIRST)])
    assert store.has_damage
    assert commit(store, new_version("b", FIRST, SECOND)).added.chunks == 1
    assert bytes(store.read([ref_of(FIRST)])) == FIRST
    assert not store.has_damage
