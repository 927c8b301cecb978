"""The log makes up for what the catalog lost: whatever it goes back to, opening leads to the same rows."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.data_plane.storage import recovery
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.errors import StoreFailed
from replicator.testing.catalog_state import Rows, require_consistent, require_exact_accounts, rows_but_times
from replicator.testing.changes import CHANGES, Change, wait_for_discards
from replicator.testing.damage import flip_bit
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import (
    LongObject,
    commit,
    contents,
    delete,
    new_version,
    noise,
)
from replicator.testing.rewinding import PowerCut

KEPT = (b"kept one", b"kept two")


@contextmanager
def scene_after(changes: Sequence[Change]) -> Iterator[PowerCut]:
    """The scene after these changes, stopped without a close, and with syncs that take no time."""
    with (
        tempfile.TemporaryDirectory() as path,
        mock.patch.object(os, "fdatasync"),
        mock.patch.object(recovery, "_RECORDS_PER_BATCH", 3),
    ):
        scene = PowerCut(Path(path))
        with scene.folder.opened() as store:
            for change in changes:
                change.apply(store, scene.folder.clock)
            wait_for_discards(store, scene.catalog)
            scene.stop()
        yield scene
        assert scene.folder.failures == []


SEQUENCES = st.lists(CHANGES, min_size=3, max_size=15)


@settings(max_examples=12, deadline=None, print_blob=True)
@given(changes=SEQUENCES)
def test_a_catalog_rolled_back_to_any_moment_comes_to_the_same(changes: Sequence[Change]) -> None:
    with scene_after(changes) as scene:
        scene.back(scene.moments[-1])
        expected = scene.rows_once_opened()
        for moment in scene.moments[:-1]:
            scene.back(moment)
            assert scene.rows_once_opened() == expected


@settings(max_examples=10, deadline=None, print_blob=True)
@given(
    changes=st.lists(CHANGES, min_size=3, max_size=8),
    dice=st.randoms(use_true_random=False),
    applies=st.booleans(),
)
def test_a_recovery_that_dies_at_any_write_is_followed_by_one_that_comes_to_the_same(
    changes: Sequence[Change], dice: Random, applies: bool
) -> None:
    with scene_after(changes) as scene:
        scene.back(scene.moments[-1])
        expected = scene.rows_once_opened()
        moment = dice.choice(scene.moments)
        for writes in itertools.count():
            scene.back(moment)
            scene.catalog.writes_left, scene.catalog.applies_the_failing = writes, applies
            try:
                scene.rows_once_opened()
                break
            except StoreFailed:
                # Of what the recovery wrote a power cut may take some away as well.
                scene.catalog.rewind(dice.choice(scene.catalog.moments))
                scene.folder.failures.clear()
                assert scene.rows_once_opened() == expected


@settings(max_examples=5, deadline=None, print_blob=True)
@given(before=SEQUENCES, after=SEQUENCES)
def test_an_earlier_copy_of_the_catalog_on_disk_comes_to_the_same(
    before: Sequence[Change], after: Sequence[Change]
) -> None:
    with tempfile.TemporaryDirectory() as path:
        folder = StoreFolder(Path(path) / "node", open_catalog=rocks, segment_bytes_max=3000)
        catalog, copy = folder.path / "catalog", Path(path) / "copy"
        with folder.opened() as store:
            for change in before:
                change.apply(store, folder.clock)
            store._catalog.copy_to(str(copy))
            for change in after:
                change.apply(store, folder.clock)
        expected = rows_on_disk(folder)
        shutil.rmtree(catalog)
        copy.rename(catalog)
        assert rows_on_disk(folder) == expected


def rows_on_disk(folder: StoreFolder) -> Rows:
    """Those of the store once it has been opened and has tidied up."""
    with folder.opened() as store:
        wait_for_discards(store, store._catalog)
        require_exact_accounts(store._catalog, store.accounts)
        require_consistent(store._catalog)
        return rows_but_times(store._catalog)


def fill(store: NodeStore) -> dict[str, bytes]:
    """Objects, some of them replaced or deleted; returns what is there."""
    for number in range(20):
        commit(store, new_version(f"{number % 12}", noise(number, 100), b"shared"))
    delete(store, "3")
    long = LongObject()
    commit(store, long.new_version("long", number=long.stage(store)))
    left = {f"{number % 12}": noise(number, 100) + b"shared" for number in range(20)} | {"long": long.data}
    del left["3"]
    return left


@pytest.fixture
def crashed(tmp_path: Path) -> tuple[StoreFolder, dict[str, bytes]]:
    """A store that was closed once and then killed, and what it had acknowledged."""
    folder = StoreFolder(tmp_path / "live", open_catalog=rocks, segment_bytes_max=3000)
    folder.open().close()
    killed = StoreFolder(tmp_path / "killed", open_catalog=rocks, segment_bytes_max=3000)
    with folder.opened() as store:
        acknowledged = fill(store)
        shutil.copytree(folder.path, killed.path)
    return killed, acknowledged


def log_of_catalog(folder: StoreFolder) -> Path:
    return max((folder.path / "catalog").glob("*.log"), key=lambda path: path.stat().st_size)


def test_a_catalog_without_its_log_loses_nothing(crashed: tuple[StoreFolder, dict[str, bytes]]) -> None:
    folder, acknowledged = crashed
    log_of_catalog(folder).unlink()
    with folder.opened() as store:
        assert contents(store) == acknowledged
        require_exact_accounts(store._catalog, store.accounts)


@pytest.mark.parametrize("part", range(8))
def test_a_catalog_whose_log_is_damaged_anywhere_loses_nothing(
    crashed: tuple[StoreFolder, dict[str, bytes]], part: int
) -> None:
    folder, acknowledged = crashed
    log = log_of_catalog(folder)
    flip_bit(log, offset=part * log.stat().st_size // 8 + part, bit=part)
    for _ in range(2):
        with folder.opened() as store:
            assert contents(store) == acknowledged
            wait_for_discards(store, store._catalog)
            require_exact_accounts(store._catalog, store.accounts)
            require_consistent(store._catalog)
