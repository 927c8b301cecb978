"""Every catalog keeps the promises of `Catalog`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from replicator.data_plane.storage.catalog import Batch, Catalog
from replicator.data_plane.storage.memory_catalog import MemoryCatalog
from replicator.testing.catalog_contract import CatalogContract, write
from replicator.testing.node_store import rocks


class TestMemoryCatalog(CatalogContract):
    @pytest.fixture
    def catalog(self) -> Catalog:
        return MemoryCatalog()


class TestRocksCatalog(CatalogContract):
    @pytest.fixture
    def catalog(self, tmp_path: Path) -> Iterator[Catalog]:
        catalog = rocks(str(tmp_path))
        yield catalog
        catalog.close()

    def test_rows_survive_closing(self, tmp_path: Path) -> None:
        catalog = rocks(str(tmp_path))
        write(catalog, {b"a": b"1"})
        batch = Batch()
        batch.put("chunks", b"a", b"2")
        catalog.write(batch)
        catalog.close()
        catalog = rocks(str(tmp_path))
        assert (catalog.get("meta", b"a"), catalog.get("chunks", b"a")) == (b"1", b"2")
        catalog.close()
