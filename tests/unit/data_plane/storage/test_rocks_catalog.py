"""The catalog on disk: what survives a crash, and what damage to its files leads to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from replicator.data_plane.storage.rocks_catalog import RocksCatalog
from replicator.kernel.errors import Corrupt, Unavailable
from replicator.testing.catalog_contract import write
from replicator.testing.damage import flip_bit
from replicator.testing.node_store import rocks
from replicator.testing.waiting import wait_until

ROW = b"row " * 25


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """The folder as kill -9 leaves it: ten batches, all of them in the write-ahead log."""
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


def test_every_batch_survives_a_crash(crashed: Path) -> None:
    catalog = rocks(str(crashed))
    assert held(catalog) == [b"%d" % number for number in range(10)]
    catalog.close()


def test_a_batch_torn_by_a_crash_is_absent_and_those_before_are_there(crashed: Path) -> None:
    with log_of(crashed).open("r+b") as log:
        log.truncate(log_of(crashed).stat().st_size - 20)
    catalog = rocks(str(crashed))
    assert held(catalog) == [b"%d" % number for number in range(9)]
    catalog.close()


def test_a_log_damaged_anywhere_opens_with_the_batches_before_the_damage(
    crashed: Path, tmp_path: Path
) -> None:
    """Those behind it come from the log of the store, in their order: none may be there without those before."""
    whole = log_of(crashed).read_bytes()
    counts = []
    for offset in range(0, len(whole), 41):
        folder = tmp_path / str(offset)
        shutil.copytree(crashed, folder)
        flip_bit(log_of(folder), offset=offset, bit=offset % 8)
        catalog = rocks(str(folder))
        found = held(catalog)
        catalog.close()
        assert found == [b"%d" % number for number in range(len(found))]
        counts.append(len(found))
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 9)


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
    with pytest.raises(Unavailable, match="replicator store rebuild-catalog"):
        rocks(str(tmp_path))


def test_what_many_deletions_in_a_row_leave_behind_is_cleared_away(tmp_path: Path) -> None:
    """Else every scan over the place steps over each of them, for as long as nothing is written there."""
    keys = [number.to_bytes(4) for number in range(10_000)]
    catalog = rocks(str(tmp_path))
    write(catalog, {b"a": ROW, b"z": ROW, **{b"b" + key: ROW for key in keys}})
    catalog.close()
    catalog = rocks(str(tmp_path))
    write(catalog, {b"b" + key: None for key in keys})
    catalog.close()
    catalog = rocks(str(tmp_path))
    wait_until(
        lambda: not any(table["num_deletions"] for table in catalog._db.live_files()),
        "the deletions are compacted away",
    )
    assert held(catalog) == [b"a", b"z"]
    catalog.close()


@pytest.mark.parametrize("prefix", [b"", b"\xff", b"a\xff\xff", b"a"])
def test_a_scan_ends_with_its_prefix_whatever_bytes_that_ends_in(tmp_path: Path, prefix: bytes) -> None:
    keys = [b"a", b"a\xff", b"a\xff\xff", b"a\xff\xff\0", b"b", b"\xff", b"\xff\xff\xff"]
    catalog = rocks(str(tmp_path))
    write(catalog, dict.fromkeys(keys, ROW))
    found = [key for key, _ in catalog.scan("meta", prefix)]
    assert found == sorted(key for key in keys if key.startswith(prefix))
    catalog.close()


ENDLESS = (5, 6, 7, 8, 11)
"""Types of records that RocksDB reads for ever where it meets them behind another one."""


def headers(log: bytes) -> list[int]:
    """Where the records of a log of less than a block begin."""
    places = [0]
    while places[-1] + 7 < len(log):
        length = int.from_bytes(log[places[-1] + 4 : places[-1] + 6], "little")
        places.append(places[-1] + 7 + length)
    return places[:-1]


@pytest.mark.parametrize("pattern", ["MANIFEST-*", "*.log"])
def test_a_log_that_would_be_read_for_ever_is_refused(crashed: Path, pattern: str) -> None:
    log = max(crashed.glob(pattern), key=lambda path: path.stat().st_size)
    whole = log.read_bytes()
    places = headers(whole)
    assert len(places) > 5
    for kind, place in zip(ENDLESS, places[1:], strict=False):
        damaged = bytearray(whole)
        damaged[place + 6] = kind
        log.write_bytes(damaged)
        with pytest.raises(Unavailable, match=rf"byte {place + 6} of {log.name} is damaged.*rebuild-catalog"):
            rocks(str(crashed))
    log.write_bytes(whole)
    rocks(str(crashed)).close()


def test_a_manifest_that_nothing_names_is_not_looked_at(crashed: Path) -> None:
    (crashed / "MANIFEST-999999").write_bytes(bytes([0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 5]))
    catalog = rocks(str(crashed))
    assert held(catalog) == [b"%d" % number for number in range(10)]
    catalog.close()


def test_a_folder_that_says_nothing_is_left_to_rocksdb(tmp_path: Path) -> None:
    rocks(str(tmp_path / "new")).close()
    (tmp_path / "new" / "CURRENT").unlink()
    with pytest.raises(Unavailable, match="does not open"):
        RocksCatalog(str(tmp_path / "new"), cache_bytes=1, read_only=True)
