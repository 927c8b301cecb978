"""Compaction that dies at each of its steps: at every call to a file and to the catalog, power cuts included."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from replicator.data_plane.ports import Bucket, Versioning
from replicator.data_plane.storage import files
from replicator.data_plane.storage.entries import BucketEntry, DropEntry, decode_entry, encode_entry
from replicator.data_plane.storage.pace import Interrupted
from replicator.data_plane.storage.record import (
    KIND_CHUNK,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    encode_record_header,
)
from replicator.data_plane.storage.recovery import whole_records
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.digest import Digest
from replicator.kernel.errors import StoreFailed
from replicator.kernel.names import DEFAULT_BUCKET, BucketName
from replicator.testing.damage import flip_bit
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import commit, delete, history, manifest_of, new_version, noise, read_all
from replicator.testing.reclaiming import BrakeThatFails, check_accounts, collect, compact, compact_all
from replicator.testing.rolling_catalog import RollingCatalog

KEEPING = BucketName("keeping")
KEPT = [noise(seed, 900) for seed in range(4)]
CALLS = ("write_at", "sync_data", "sync_folder", "create_file", "unlink")


class Died(Exception):
    """The process has died at this call to a file."""


def fill(store: NodeStore) -> None:
    store.set_bucket(KEEPING, Versioning.ON)
    for payload in KEPT[:2]:
        commit(store, new_version("a", payload, bucket=KEEPING))
    commit(store, new_version("b", KEPT[2], KEPT[3]))
    for seed in range(10, 14):
        commit(store, new_version("c", noise(seed, 900)))
    dropped = commit(store, new_version("a", noise(20, 900), bucket=KEEPING)).version
    delete(store, "a", bucket=KEEPING, version=dropped.version)
    delete(store, "a", bucket=KEEPING)
    delete(store, "c")
    collect(store)


def state(store: NodeStore) -> list[Any]:
    return [history(store, key, bucket) for bucket in (DEFAULT_BUCKET, KEEPING) for key in "abc"]


def check(folder: StoreFolder, told: list[Any]) -> None:
    """All of it is there, it can be compacted after all, and then nothing but it is left."""
    with folder.opened() as store:
        assert state(store) == told
        for payloads in (KEPT[:1], KEPT[1:2], KEPT[2:]):
            assert read_all(store, manifest_of(*payloads)) == b"".join(payloads)
        check_accounts(store)
        collect(store)
        assert all(done.bytes_reclaimed for done in compact_all(store))
        assert state(store) == told
        check_accounts(store)
        assert list(store.parts.catalog.scan("meta", b"copied/")) == []
    assert len(folder.segments()) == 1


@contextmanager
def dying_at(number: int) -> Iterator[Callable[[], bool]]:
    """Let the call `number` to a file, and all later ones, raise; says whether it came to that."""
    calls = 0

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def watch(*args: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= number:
                raise StoreFailed("the process has died") from Died()
            return call(*args, **named)

        return watch

    with ExitStack() as patched:
        for name in CALLS:
            patched.enter_context(mock.patch.object(files, name, watched(getattr(files, name))))
        yield lambda: calls >= number


def folder_with(path: Path, catalog: RollingCatalog) -> StoreFolder:
    return StoreFolder(path, open_catalog=lambda _: catalog, segment_bytes_max=4096)


def prepared(path: Path) -> tuple[RollingCatalog, list[Any]]:
    catalog = RollingCatalog()
    with folder_with(path, catalog).opened() as store:
        fill(store)
        return catalog, state(store)


@contextmanager
def catalog_dying_at(catalog: RollingCatalog, number: int) -> Iterator[Callable[[], bool]]:
    """The same for the call `number` to the catalog."""
    catalog.calls, catalog.dies_at = 0, number
    yield lambda: catalog.calls >= number
    catalog.dies_at = 0


@pytest.mark.parametrize("keeps", ["everything", "what was synced"])
@pytest.mark.parametrize("where", ["files", "catalog"])
def test_at_each_call(tmp_path: Path, where: str, keeps: str) -> None:
    made, told = prepared(tmp_path / "prepared")
    number, died = 0, True
    while died:
        number += 1
        path = tmp_path / f"{number}"
        shutil.copytree(tmp_path / "prepared", path)
        catalog = made.after_power_cut(0)
        opened = folder_with(path, catalog).open()
        with dying_at(number) if where == "files" else catalog_dying_at(catalog, number) as has_died:
            with suppress(StoreFailed):
                compact_all(opened.store)
            died = has_died()
            left = catalog.after_power_cut(0 if keeps == "everything" else catalog.unsynced)
            opened.close()
        check(folder_with(path, left), told)
    assert number > 10


def test_a_file_that_was_to_go_does_not_come_back(tmp_path: Path) -> None:
    catalog, told = prepared(tmp_path)
    folder = folder_with(tmp_path, catalog)
    opened = folder.open()
    before = folder.segments()
    with mock.patch.object(files, "unlink", side_effect=StoreFailed("the process has died")):
        with pytest.raises(StoreFailed):
            compact_all(opened.store)
        opened.close()
    assert set(before) <= set(folder.segments())
    with folder.opened():
        assert folder.segments()[0] == before[1]
    check(folder, told)


def test_a_copy_behind_an_entry_that_does_not_count_is_cut_off_with_it(tmp_path: Path) -> None:
    catalog = RollingCatalog()
    folder = folder_with(tmp_path, catalog)
    with folder.opened() as store:
        commit(store, new_version("a", KEPT[0]))
    before = folder.segment().stat().st_size
    kind, payload = encode_entry(BucketEntry(1 << 40, Bucket(KEEPING, Versioning.ON, 0), False))
    with folder.segment().open("ab") as file:
        file.write(encode_record_header(Digest.of(payload), payload, kind=kind) + payload)
        for chunk in (KEPT[0], KEPT[1]):
            file.write(encode_record_header(Digest.of(chunk), chunk) + chunk)
    with folder.opened() as store:
        assert folder.segment().stat().st_size == before
        assert store.locate([Digest.of(chunk) for chunk in KEPT[:2]]) == [len(KEPT[0]), None]
        assert read_all(store, manifest_of(KEPT[0])) == KEPT[0]
        check_accounts(store)


def test_a_drop_outlives_what_an_unfinished_compaction_left_behind(tmp_path: Path) -> None:
    """Whoever rebuilds the catalog would meet the version in the first segment, and must meet its drop as well."""
    catalog = RollingCatalog()
    with folder_with(tmp_path, catalog).opened() as store:
        store.set_bucket(KEEPING, Versioning.ON)
        version = commit(store, new_version("a", KEPT[0], bucket=KEEPING)).version.version
        with pytest.raises(Interrupted):
            compact(store, 1, brake=BrakeThatFails(0))
        catalog = catalog.after_power_cut(catalog.unsynced)
    with folder_with(tmp_path, catalog).opened() as store:
        store.parts.chunks.roll()
        delete(store, "a", bucket=KEEPING, version=version)
        compact(store, 2)
        compact(store, 3)
        assert store.parts.segments.numbers == [1, 4]
        assert [entry.version for entry in drops_in(store, 4)] == [version]
        compact(store, 1)
        compact(store, 4)
        assert drops_in(store, store.parts.segments.active) == []


@pytest.mark.parametrize("why", ["interrupted", "damaged"])
def test_a_version_that_came_back_outlives_the_copy_of_its_drop(tmp_path: Path, why: str) -> None:
    """Another segment was not compacted to its end, so every drop is copied: it ends nothing a second time."""
    catalog = RollingCatalog()
    folder = folder_with(tmp_path, catalog)
    with folder.opened() as store:
        commit(store, new_version("b", KEPT[1]))
        store.parts.chunks.roll()
        version = commit(store, new_version("a", KEPT[0])).version
        delete(store, "a")
        commit(store, new_version("a", KEPT[0], version=version.version))
        if why == "damaged":
            flip_bit(folder.segment(1), offset=SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES, bit=0)
            assert not compact(store, 1).bytes_reclaimed
        else:
            with pytest.raises(Interrupted):
                compact(store, 1, brake=BrakeThatFails(0))
        assert compact(store, 2).bytes_reclaimed
        assert len(drops_in(store, store.parts.segments.active)) == 1
        assert history(store, "a") == [version]
        check_accounts(store)
        catalog = catalog.after_power_cut(catalog.unsynced)
    with folder_with(tmp_path, catalog).opened() as store:
        assert history(store, "a") == [version]
        assert read_all(store, store.manifest(version.manifest)) == KEPT[0]
        check_accounts(store)


def drops_in(store: NodeStore, number: int) -> list[DropEntry]:
    entries = [
        decode_entry(header.kind, payload)
        for header, _, payload in whole_records(store.parts.segments, number, SEGMENT_HEADER_BYTES)
        if header.kind != KIND_CHUNK
    ]
    return [entry for entry in entries if isinstance(entry, DropEntry)]
