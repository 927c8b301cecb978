"""Garbage: what is forgotten when its grace has passed, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from replicator.data_plane.storage.collect import Collector
from replicator.data_plane.storage.pace import Brake, Interrupted
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.errors import NotFound
from replicator.testing.node_store import StoreFolder
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
from replicator.testing.reclaiming import FREELY, check_accounts, collect

ONE, OTHER, SHARED = noise(1, 1000), noise(2, 1000), noise(3, 1000)


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    return StoreFolder(tmp_path)


@pytest.fixture
def store(folder: StoreFolder) -> Iterator[NodeStore]:
    with folder.opened() as store:
        yield store


def located(store: NodeStore, *payloads: bytes) -> list[bool]:
    return [length is not None for length in store.locate([ref_of(each).digest for each in payloads])]


def test_a_deleted_object_goes_once_its_grace_has_passed(folder: StoreFolder, store: NodeStore) -> None:
    commit(store, new_version("a", ONE, SHARED))
    commit(store, new_version("b", OTHER, SHARED))
    delete(store, "a")
    folder.clock.now_ms += 9_999
    assert collect(store, grace_s=10).manifests == 0
    assert located(store, ONE, OTHER, SHARED) == [True, True, True]
    folder.clock.now_ms += 1
    collected = collect(store, grace_s=10)
    assert collected.manifests == 1
    assert collected.dead_bytes > len(ONE)
    assert located(store, ONE, OTHER, SHARED) == [False, True, True]
    with pytest.raises(NotFound):
        store.manifest(manifest_of(ONE, SHARED).digest)
    check_accounts(store)


def test_a_dry_run_changes_nothing(store: NodeStore) -> None:
    commit(store, new_version("a", ONE))
    delete(store, "a")
    wanted = collect(store, dry_run=True)
    assert (wanted.manifests, wanted.dead_bytes, wanted.dry_run) == (1, len(ONE), True)
    assert located(store, ONE) == [True]
    assert collect(store).manifests == 1


def test_what_came_back_within_its_grace_stays(store: NodeStore) -> None:
    commit(store, new_version("a", ONE))
    delete(store, "a")
    commit(store, new_version("b", ONE, shares=True))
    assert collect(store).manifests == 0
    assert read_all(store, manifest_of(ONE)) == ONE
    check_accounts(store)


def test_a_manifest_that_is_pinned_stays_until_it_is_let_go(store: NodeStore) -> None:
    commit(store, new_version("a", ONE))
    with store.hold("a read") as hold:
        manifest = store.pin(manifest_of(ONE).digest, hold)
        delete(store, "a")
        assert collect(store).manifests == 0
        assert read_all(store, manifest) == ONE
    assert collect(store).manifests == 1
    with store.hold("a read") as hold, pytest.raises(NotFound):
        store.pin(manifest.digest, hold)


def test_a_chunk_that_is_held_stays_when_its_object_goes(store: NodeStore) -> None:
    commit(store, new_version("a", ONE, OTHER))
    with store.hold("an upload") as hold:
        assert store.locate([ref_of(ONE).digest], hold=hold) == [len(ONE)]
        delete(store, "a")
        assert collect(store).manifests == 1
        assert located(store, ONE, OTHER) == [True, False]
        new = new_version("b", ONE)
        new.chunks = ()
        commit(store, new)
    assert read_all(store, manifest_of(ONE)) == ONE
    check_accounts(store)


def test_what_was_collected_can_be_stored_again(store: NodeStore) -> None:
    for _ in range(3):
        commit(store, new_version("a", ONE, SHARED))
        delete(store, "a")
        assert collect(store).manifests == 1
    assert commit(store, new_version("a", ONE, SHARED)).added.chunks == 2
    assert read_all(store, manifest_of(ONE, SHARED)) == ONE + SHARED
    check_accounts(store)


def test_a_long_manifest_goes_with_its_pages(store: NodeStore) -> None:
    long = LongObject()
    commit(store, long.new_version("a", number=long.stage(store)))
    commit(store, long.new_version("b", number=None, shares=True))
    delete(store, "a")
    assert collect(store).manifests == 0
    delete(store, "b")
    assert collect(store).manifests == 1
    assert located(store, *long.payloads) == [False, False, False]
    assert list(store.parts.catalog.scan("pages", b"")) == []
    check_accounts(store)
    commit(store, long.new_version("a", number=long.stage(store)))
    assert read_all(store, long.manifest) == long.data


def test_a_collection_that_is_interrupted_is_taken_up_again(store: NodeStore) -> None:
    long = LongObject()
    commit(store, long.new_version("a", number=long.stage(store)))
    delete(store, "a")
    parts_left = 2

    def check() -> None:
        nonlocal parts_left
        if not parts_left:
            raise Interrupted("somebody asks for something else")
        parts_left -= 1

    collector = Collector(store.parts)
    with pytest.raises(Interrupted):
        collector.collect(grace_s=0, dry_run=False, brake=Brake(check))
    assert len(list(store.parts.catalog.scan("pages", b""))) == 1
    collector.collect(grace_s=0, dry_run=False, brake=FREELY)
    assert list(store.parts.catalog.scan("pages", b"")) == []
    assert located(store, *long.payloads) == [False, False, False]
    check_accounts(store)


def test_chunks_of_an_upload_that_failed_are_still_known(store: NodeStore) -> None:
    long = LongObject()
    store.discard(long.stage(store))
    store.checkpoint()
    assert collect(store).manifests == 0
    assert located(store, *long.payloads) == [True, True, True]
    assert store.add(named(*long.payloads)).chunks == 0
