"""A log that ends in the midst of something, or is damaged: what counts of it, and what nobody may take for absent."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from replicator.data_plane.ports import Versioning
from replicator.data_plane.storage.entries import (
    CommitEntry,
    DropEntry,
    Entry,
    ManifestEntry,
    VersionEntry,
    encode_entry,
)
from replicator.data_plane.storage.record import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    encode_record_header,
)
from replicator.data_plane.storage.recovery import Recovered
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.testing.catalog_state import require_exact_accounts
from replicator.testing.damage import flip_bit
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import commit, contents, history, new_version, noise
from replicator.testing.rewinding import PowerCut

KEPT = (b"kept one", b"kept two")


def test_a_group_torn_at_any_byte_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda _: None)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    scene = PowerCut(tmp_path, segment_bytes_max=2**20)
    with scene.folder.opened() as store:
        store.set_bucket(DEFAULT_BUCKET, Versioning.SUSPENDED)
        commit(store, new_version("a", *KEPT))
        end = scene.folder.segment().stat().st_size
        before = history(store, "a")
        moment = scene.catalog.moments[-1]
        done = commit(store, new_version("a", b"new"))
        scene.stop()
    whole = scene.folder.segment().stat().st_size
    for length in range(end, whole + 1):
        scene.back(moment)
        os.truncate(scene.folder.segment(), length)
        with scene.folder.opened() as store:
            assert history(store, "a") == ([done.version] if length == whole else before), length
            assert contents(store) == {"a": b"new" if length == whole else b"".join(KEPT)}
            require_exact_accounts(scene.catalog, store.accounts)


def record_of(entry: Entry) -> bytes:
    kind, payload = encode_entry(entry)
    return encode_record_header(Digest.of(payload), payload, kind=kind) + payload


def chunk_record(payload: bytes) -> bytes:
    return encode_record_header(Digest.of(payload), payload) + payload


def test_entries_count_where_the_mark_of_their_commit_follows(tmp_path: Path) -> None:
    """Written by hand, from what the format says alone."""
    folder = StoreFolder(tmp_path)
    with folder.opened() as store:
        version = commit(store, new_version("a", b"old")).version
    manifest = new_version("b", b"new").manifest
    made = replace(version, object_id=ObjectId("b"), manifest=manifest.digest, size=3)
    group = [
        chunk_record(b"new"),
        record_of(ManifestEntry(101, 50, manifest.encoded)),
        record_of(VersionEntry(102, made)),
        record_of(DropEntry(103, 1, version.bucket, version.object_id, version.version)),
    ]
    intact = folder.segment().read_bytes()
    uncommitted = b"".join(group[1:])
    folder.segment().write_bytes(intact + b"".join(group))
    opened = folder.open()
    assert opened.recovered == Recovered(chunks=1, bytes_cut=len(uncommitted))
    assert contents(opened.store) == {"a": b"old"}
    opened.close()
    with folder.segment().open("ab") as file:
        file.write(uncommitted + record_of(CommitEntry(104, 3)))
    opened = folder.open()
    assert opened.recovered == Recovered(entries=3)
    assert contents(opened.store) == {"b": b"new"}
    assert opened.store.stage() > 50
    opened.close()


def test_a_chunk_behind_entries_that_do_not_count_goes_with_them(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path)
    with folder.opened() as store:
        version = commit(store, new_version("a", b"old")).version
    tail = record_of(VersionEntry(101, replace(version, object_id=ObjectId("b")))) + chunk_record(b"behind")
    with folder.segment().open("ab") as file:
        file.write(tail)
    opened = folder.open()
    assert opened.recovered == Recovered(bytes_cut=len(tail))
    assert opened.store.locate([Digest.of(b"behind")]) == [None]
    opened.close()


@pytest.mark.parametrize("where", ["first record", "last byte"])
def test_a_segment_before_the_last_that_is_damaged_behind_its_mark_refuses_to_open(
    tmp_path: Path, where: str
) -> None:
    """What was acknowledged there is neither in the catalog nor in the log: nobody may take it for absent."""
    scene = PowerCut(tmp_path, segment_bytes_max=1000)
    with scene.folder.opened() as store:
        for number in range(6):
            commit(store, new_version(f"{number}", noise(number, 100)))
        scene.stop()
    scene.back(scene.moments[0])
    assert len(scene.folder.segments()) > 2
    damaged = scene.folder.segment(2)
    intact = damaged.read_bytes()
    offset = SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES if where == "first record" else len(intact) - 1
    flip_bit(damaged, offset=offset, bit=3)
    before = {name: (scene.folder.path / "segments" / name).read_bytes() for name in scene.folder.segments()}
    for _ in range(2):
        with pytest.raises(Corrupt, match=r"segment 2 is damaged at byte \d+.*rebuild-catalog"):
            scene.folder.open()
    assert before == {
        name: (scene.folder.path / "segments" / name).read_bytes() for name in scene.folder.segments()
    }
    damaged.write_bytes(intact)
    with scene.folder.opened() as store:
        assert contents(store) == {f"{number}": noise(number, 100) for number in range(6)}


def acknowledged_and_not_in_the_catalog(scene: PowerCut, *, objects: int) -> None:
    """Objects of which the catalog, set back by a power cut, knows nothing."""
    with scene.folder.opened() as store:
        for number in range(objects):
            commit(store, new_version(f"{number}", noise(number, 900)))
        scene.stop()
    scene.back(scene.moments[0])


def require_refused(scene: PowerCut) -> None:
    before = [scene.folder.segment(int(name[:8])).read_bytes() for name in scene.folder.segments()]
    with pytest.raises(Corrupt, match="segment"):
        scene.folder.open()
    after = [scene.folder.segment(int(name[:8])).read_bytes() for name in scene.folder.segments()]
    assert after == before


@pytest.mark.parametrize("objects", [2, 5])
def test_damage_before_groups_that_were_acknowledged_is_not_taken_for_a_torn_group(
    tmp_path: Path, objects: int
) -> None:
    scene = PowerCut(tmp_path, segment_bytes_max=2**20)
    acknowledged_and_not_in_the_catalog(scene, objects=objects)
    flip_bit(scene.folder.segment(), offset=SEGMENT_HEADER_BYTES + 100, bit=0)
    require_refused(scene)


def test_a_zeroed_header_of_a_segment_that_others_follow_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    scene = PowerCut(tmp_path, segment_bytes_max=3000)
    acknowledged_and_not_in_the_catalog(scene, objects=8)
    assert len(scene.folder.segments()) > 2
    with scene.folder.segment(2).open("r+b") as file:
        file.write(bytes(SEGMENT_HEADER_BYTES))
    require_refused(scene)


def test_a_zeroed_header_of_the_last_segment_is_not_taken_for_a_new_one_where_records_follow(
    tmp_path: Path,
) -> None:
    scene = PowerCut(tmp_path, segment_bytes_max=2**20)
    acknowledged_and_not_in_the_catalog(scene, objects=2)
    with scene.folder.segment().open("r+b") as file:
        file.write(bytes(SEGMENT_HEADER_BYTES))
    require_refused(scene)
