"""The check finds every disagreement of a store with itself, and none in a store that has none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from replicator.data_plane.ports import Versioning
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import Batch, Catalog, Family
from replicator.data_plane.storage.check import Checked, check_store
from replicator.data_plane.storage.findings import Finding
from replicator.data_plane.storage.memory_catalog import MemoryCatalog
from replicator.data_plane.storage.record import RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES
from replicator.data_plane.storage.rocks_catalog import RocksCatalog
from replicator.kernel.digest import DIGEST_BYTES
from replicator.kernel.errors import Conflict, Corrupt, InvalidRequest
from replicator.kernel.names import BucketName
from replicator.testing.node_store import CACHE_BYTES, StoreFolder, rocks
from replicator.testing.objects import LongObject, commit, delete, new_version, noise, ref_of

KEPT = BucketName("kept")


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    """A store with something of everything."""
    folder = StoreFolder(tmp_path / "node", segment_bytes_max=4096)
    long = LongObject(1)
    with folder.opened() as store:
        store.set_bucket(KEPT, Versioning.ON)
        for seed in range(4):
            commit(store, new_version("a", noise(seed, 500), bucket=KEPT))
            commit(store, new_version("a", noise(seed, 700)))
        delete(store, "a", bucket=KEPT)
        commit(store, new_version("b", noise(1, 500)))
        commit(store, long.new_version("long", number=long.stage(store)))
        LongObject(5).stage(store)
    return folder


def check(folder: StoreFolder, *, read_data: bool = False) -> tuple[Checked, list[Finding]]:
    findings: list[Finding] = []

    def open_catalog(path: str) -> Catalog:
        return folder.open_catalog(path) if os.path.basename(path) == "catalog" else MemoryCatalog()

    done = check_store(
        str(folder.path), open_catalog=open_catalog, on_finding=findings.append, read_data=read_data
    )
    assert done.findings == len(findings)
    return done, findings


def test_a_sound_store_has_no_findings(folder: StoreFolder) -> None:
    done, findings = check(folder, read_data=True)
    assert findings == []
    assert (done.versions, done.unabsorbed_bytes) == (8, 0)
    assert done.records > done.chunks
    assert sorted(path.name for path in folder.path.iterdir()) == ["BALLAST", "LOCK", "catalog", "segments"]


def first(
    catalog: Catalog, family: Family, keep: Callable[[bytes], bool] = lambda _: True
) -> tuple[bytes, bytes]:
    return next(each for each in catalog.scan(family, b"") if keep(each[0]))


def is_name(key: bytes) -> bool:
    return len(key) == DIGEST_BYTES


def is_reference(key: bytes) -> bool:
    return len(key) > DIGEST_BYTES


REMOVED: list[tuple[Family, Callable[[bytes], bool]]] = [
    ("chunks", is_name),
    ("chunks", is_reference),
    ("manifests", is_name),
    ("manifests", is_reference),
    ("pages", lambda _: True),
    ("versions", lambda _: True),
    ("heads", lambda _: True),
    ("nulls", lambda _: True),
    ("buckets", lambda _: True),
    ("meta", lambda key: key.startswith(rows.SEGMENT_PREFIX)),
    ("meta", lambda key: key.startswith(rows.STAGED_PREFIX)),
    ("meta", lambda key: key.startswith(rows.RETIRING_PREFIX)),
    ("meta", lambda key: key == rows.STORE_KEY),
]


@pytest.mark.parametrize(
    ("family", "keep"), REMOVED, ids=[f"{n} {each[0]}" for n, each in enumerate(REMOVED)]
)
def test_a_row_that_is_missing(folder: StoreFolder, family: Family, keep: Callable[[bytes], bool]) -> None:
    change(folder, family, keep, lambda _: None)
    assert check(folder)[1]


CHANGED: list[tuple[Family, Callable[[bytes], bool], Callable[[bytes], bytes]]] = [
    ("chunks", is_name, lambda row: row[:2] + b"\0\0\0\x63" + row[6:]),
    ("chunks", is_name, lambda row: row[:-1]),
    ("manifests", is_name, lambda row: row[:-1] + bytes([row[-1] ^ 1])),
    (
        "manifests",
        is_name,
        lambda row: row[:21] + (b"\1" * 8 if row[21:29] == bytes(8) else bytes(8)) + row[29:],
    ),
    ("pages", lambda _: True, lambda row: row[:-1] + bytes([row[-1] ^ 1])),
    ("versions", lambda _: True, lambda row: b"\x09" + row[1:]),
    ("heads", lambda _: True, lambda row: row[:-1] + b"?"),
    ("nulls", lambda _: True, lambda row: row[:-1] + b"?"),
    ("meta", lambda key: key.startswith(rows.SEGMENT_PREFIX), lambda row: row[:-1] + bytes([row[-1] ^ 1])),
]


@pytest.mark.parametrize(
    ("family", "keep", "harm"), CHANGED, ids=[f"{n} {each[0]}" for n, each in enumerate(CHANGED)]
)
def test_a_row_that_is_another(
    folder: StoreFolder, family: Family, keep: Callable[[bytes], bool], harm: Callable[[bytes], bytes]
) -> None:
    change(folder, family, keep, harm)
    assert check(folder)[1]


ADDED: list[tuple[Family, bytes, bytes]] = [
    ("chunks", bytes(32) + bytes(8), b""),
    ("manifests", bytes(32) + bytes(16), b""),
    ("pages", rows.page_key(999, 0), b""),
    ("heads", b"default\0zzz", b"x"),
    ("nulls", b"default\0zzz", bytes(16)),
]


@pytest.mark.parametrize(("family", "key", "row"), ADDED, ids=[each[0] for each in ADDED])
def test_a_row_too_many(folder: StoreFolder, family: Family, key: bytes, row: bytes) -> None:
    catalog = folder.open_catalog("")
    batch = Batch()
    batch.put(family, key, row)
    catalog.write(batch)
    assert check(folder)[1]


def change(
    folder: StoreFolder, family: Family, keep: Callable[[bytes], bool], harm: Callable[[bytes], bytes | None]
) -> None:
    catalog = folder.open_catalog("")
    key, row = first(catalog, family, keep)
    batch = Batch()
    changed = harm(row)
    if changed is None:
        batch.delete(family, key)
    else:
        batch.put(family, key, changed)
    catalog.write(batch)


def test_damage_in_the_log_is_found_by_reading_it(folder: StoreFolder) -> None:
    last = folder.path / "segments" / folder.segments()[-1]
    with last.open("r+b") as file:
        file.seek(last.stat().st_size - 1)
        file.write(b"?")
    assert check(folder)[1] == []
    _, findings = check(folder, read_data=True)
    assert "damaged-region" in [each.kind for each in findings]


def test_a_chunk_that_is_not_where_the_catalog_has_it_is_named(folder: StoreFolder) -> None:
    with folder.segment().open("r+b") as file:
        file.seek(SEGMENT_HEADER_BYTES)
        data = bytearray(file.read())
        place = data.index(noise(0, 500)) - RECORD_HEADER_BYTES
        file.seek(SEGMENT_HEADER_BYTES + place)
        file.write(bytes(10))
    kinds = [each.kind for each in check(folder, read_data=True)[1]]
    assert sorted(kinds) == ["damaged-region", "lost-chunk"]


def test_damage_in_which_nothing_is_in_use_any_more_is_no_finding(folder: StoreFolder) -> None:
    payload = noise(0, 500)
    with folder.segment().open("r+b") as file:
        file.seek(file.read().index(payload))
        file.write(bytes(10))
    with folder.opened() as store:
        with pytest.raises(Corrupt):
            store.read([ref_of(payload)])
        commit(store, new_version("healing", payload))
    done, findings = check(folder, read_data=True)
    assert findings == []
    assert done.spent_regions == 1


def test_a_lost_version_is_named_as_people_name_it(folder: StoreFolder) -> None:
    for name in folder.segments():
        path = folder.path / "segments" / name
        data = path.read_bytes()
        if (place := data.find(b"long")) >= 0:
            path.write_bytes(data[:place] + b"lang" + data[place + 4 :])
    messages = [each.message for each in check(folder, read_data=True)[1] if each.kind == "lost-version"]
    assert any("of 'long' in bucket 'default'" in each for each in messages), messages


def test_a_check_leaves_the_catalog_as_it_is(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, open_catalog=rocks)
    with folder.opened() as store:
        commit(store, new_version("a", b"first"))
    before = {file.name: file.read_bytes() for file in (tmp_path / "catalog").iterdir()}
    findings: list[Finding] = []
    check_store(
        str(tmp_path),
        open_catalog=rocks,
        read_catalog=lambda path: RocksCatalog(path, cache_bytes=CACHE_BYTES, read_only=True),
        on_finding=findings.append,
    )
    assert findings == []
    assert {file.name: file.read_bytes() for file in (tmp_path / "catalog").iterdir()} == before


def test_a_segment_that_is_gone_or_short(folder: StoreFolder) -> None:
    folder.segment(1).write_bytes(folder.segment(1).read_bytes()[:-1])
    folder.segment(2).unlink()
    assert {"short-segment", "missing-segment"} <= {each.kind for each in check(folder)[1]}


def test_a_folder_that_is_no_store_or_is_in_use(folder: StoreFolder, tmp_path: Path) -> None:
    with folder.opened(), pytest.raises(Conflict):
        check(folder)
    with pytest.raises(InvalidRequest):
        check(StoreFolder(tmp_path))
