"""The catalog on disk: what survives a crash, and what damage to its files leads to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from replicator.data_plane.storage.rocks_catalog import RocksCatalog
from replicator.kernel.errors import Corrupt, Unavailable
from replicator.testing.catalog_contract import write
from replicator.testing.node_store import rocks

ROW = b"row " * 25


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """The folder as kill -9 leaves it: ten synced batches, all of them in the write-ahead log."""
    catalog = rocks(str(tmp_path / "live"))
    for number in range(10):
        write(catalog, {b"%d" % number: ROW})
    shutil.copytree(tmp_path / "live", tmp_path / "crashed")
    catalog.close()
    return tmp_path / "crashed"


def log_of(folder: Path) -> Path:
    return max(folder.glob("*.log"), key=lambda path: path.stat().st_size)


def held(catalog: RocksCatalog) -> list[bytes]:
    return [key for key, _ in catalog.scan("meta", b"")]


def test_every_synced_batch_survives_a_crash(crashed: Path) -> None:
    catalog = rocks(str(crashed))
    assert held(catalog) == [b"%d" % number for number in range(10)]
    catalog.close()


def test_a_batch_torn_by_a_crash_is_absent_and_those_before_are_there(crashed: Path) -> None:
    with log_of(crashed).open("r+b") as log:
        log.truncate(log_of(crashed).stat().st_size - 20)
    catalog = rocks(str(crashed))
    assert held(catalog) == [b"%d" % number for number in range(9)]
    catalog.close()


def test_a_log_damaged_in_its_middle_does_not_open(crashed: Path) -> None:
    """Opening it would silently drop the acknowledged batches behind the damage."""
    data = bytearray(log_of(crashed).read_bytes())
    data[len(data) // 2] ^= 0xFF
    log_of(crashed).write_bytes(data)
    with pytest.raises(Unavailable, match="does not open"):
        rocks(str(crashed))


def test_a_damaged_table_is_never_read_as_if_it_were_whole(tmp_path: Path) -> None:
    catalog = rocks(str(tmp_path))
    write(catalog, {b"k": ROW})
    catalog.close()
    [table] = tmp_path.glob("*.sst")
    data = bytearray(table.read_bytes())
    data[data.index(ROW) + 10] ^= 0xFF
    table.write_bytes(data)
    catalog = rocks(str(tmp_path))
    with pytest.raises(Corrupt, match="meta"):
        catalog.get("meta", b"k")
    with pytest.raises(Corrupt, match="meta"):
        catalog.get_many("meta", [b"k"])
    with pytest.raises(Corrupt, match="meta"):
        list(catalog.scan("meta", b""))
    catalog.close()


def test_a_folder_that_names_another_file_does_not_open(tmp_path: Path) -> None:
    rocks(str(tmp_path)).close()
    (tmp_path / "CURRENT").write_bytes(b"MANIFEST-999999\n")
    with pytest.raises(Unavailable, match="restore this node's folder from a backup"):
        rocks(str(tmp_path))
