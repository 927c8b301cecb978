"""Every store keeps the promises of `Store`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from replicator.data_plane.ports import Store
from replicator.data_plane.storage.codec import ChunkCompressor
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_store import MemoryStore
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import TINY_CHUNKING
from replicator.testing.store_contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore(clock=FrozenClock(), chunking=TINY_CHUNKING)


class TestNodeStoreOnRocksDb(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with StoreFolder(tmp_path, open_catalog=rocks).opened() as store:
            yield store


class TestNodeStoreThatCompresses(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with StoreFolder(tmp_path, compressor=ChunkCompressor()).opened() as store:
            yield store


class TestNodeStoreOnMemoryCatalog(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        with StoreFolder(tmp_path).opened() as store:
            yield store
