"""Live bytes are exact after every change, and the rows of the catalog fit one another."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.data_plane.ports import Versioning
from replicator.data_plane.storage.accounts import Accounts
from replicator.data_plane.storage.catalog import Batch
from replicator.data_plane.storage.memory_catalog import MemoryCatalog
from replicator.kernel.names import DEFAULT_BUCKET
from replicator.testing.catalog_state import require_consistent, require_exact_accounts
from replicator.testing.changes import CHANGES, Change, wait_for_discards
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import LongObject, commit, delete, new_version, noise


@settings(max_examples=20, deadline=None, print_blob=True)
@given(changes=st.lists(CHANGES, min_size=5, max_size=20))
def test_accounts_are_exact_after_every_change(changes: Sequence[Change]) -> None:
    catalog = MemoryCatalog()
    with tempfile.TemporaryDirectory() as path, mock.patch.object(os, "fdatasync"):
        folder = StoreFolder(Path(path), open_catalog=lambda _: catalog, segment_bytes_max=3000)
        with folder.opened() as store:
            for change in changes:
                change.apply(store, folder.clock)
                wait_for_discards(store, catalog)
                require_exact_accounts(catalog, store.accounts)
                require_consistent(catalog)
        with folder.opened() as store:
            wait_for_discards(store, catalog)
            require_exact_accounts(catalog, store.accounts)
            require_consistent(catalog)
        assert folder.failures == []


def live_bytes(catalog: MemoryCatalog) -> int:
    return sum(Accounts.load(catalog).live.values())


def test_what_is_deleted_is_dead_but_for_what_others_share(tmp_path: Path) -> None:
    catalog = MemoryCatalog()
    with StoreFolder(tmp_path, open_catalog=lambda _: catalog).opened() as store:
        commit(store, new_version("kept", noise(0, 1000)))
        before = live_bytes(catalog)
        commit(store, new_version("gone", noise(0, 1000), noise(1, 900)))
        assert live_bytes(catalog) > before + 900
        assert live_bytes(catalog) < before + 1900
        delete(store, "gone")
        # The manifest and its chunks stay alive for the time of grace: only the version has gone.
        assert before + 900 < live_bytes(catalog) < before + 1900


def test_an_object_that_is_long_and_unfinished_leaves_nothing_alive(tmp_path: Path) -> None:
    catalog = MemoryCatalog()
    with StoreFolder(tmp_path, open_catalog=lambda _: catalog).opened() as store:
        number = LongObject().stage(store)
        assert live_bytes(catalog) > 0
        store.discard(number)
        wait_for_discards(store, catalog)
        assert live_bytes(catalog) == 0


def test_a_drop_is_alive_as_long_as_the_segment_of_its_version(tmp_path: Path) -> None:
    catalog = MemoryCatalog()
    folder = StoreFolder(tmp_path, open_catalog=lambda _: catalog, segment_bytes_max=100)
    with folder.opened() as store:
        store.set_bucket(DEFAULT_BUCKET, Versioning.ON)
        version = commit(store, new_version("a", b"x")).version.version
        alive = live_bytes(catalog)
        delete(store, "a", version=version)
        accounts = Accounts.load(catalog)
        [(about, within)] = accounts.drops
        assert about < within
        change = accounts.change()
        change.remove(about)
        batch = Batch()
        change.put_rows(batch)
        catalog.write(batch)
        change.apply()
        assert accounts.drops == {}
        assert accounts.live[within] == 0
        assert about not in accounts.absorbed
        assert Accounts.load(catalog).live == accounts.live
        assert live_bytes(catalog) < alive
