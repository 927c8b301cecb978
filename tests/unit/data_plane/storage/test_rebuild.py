"""A catalog made from segments that are damaged, torn or incomplete: what is whole comes back, the rest is named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from unittest import mock

import pytest

from replicator.data_plane.ports import Versioning
from replicator.data_plane.storage import files
from replicator.data_plane.storage.findings import Finding
from replicator.data_plane.storage.rebuild import rebuild_catalog
from replicator.data_plane.storage.record import (
    KIND_BUCKET,
    KIND_CHUNK,
    KIND_COMMIT,
    KIND_DROP,
    KIND_PAGE,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    encode_record_header,
)
from replicator.data_plane.storage.refill import Rebuilt
from replicator.data_plane.storage.store import NodeStore
from replicator.data_plane.storage.walk import Record, walk
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Conflict, Corrupt, InvalidRequest
from replicator.kernel.names import BucketName
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import LongObject, commit, delete, listed, new_version, noise, read_all
from replicator.testing.reclaiming import compact

FIRST, SECOND = b"first", b"other"
KEPT = BucketName("kept")


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    return StoreFolder(tmp_path / "node", open_catalog=rocks)


def rebuild(folder: StoreFolder) -> tuple[Rebuilt, list[Finding]]:
    findings: list[Finding] = []
    return rebuild_catalog(str(folder.path), open_catalog=rocks, on_finding=findings.append), findings


def lose_catalog(folder: StoreFolder) -> None:
    shutil.rmtree(folder.path / "catalog")


def contents(store: NodeStore) -> dict[str, bytes]:
    return {str(each.object_id): read_all(store, store.manifest(each.manifest)) for each in listed(store)}


def records(folder: StoreFolder, number: int = 1) -> list[Record]:
    data = folder.segment(number).read_bytes()
    found = walk(lambda at, length: data[at : at + length], number, SEGMENT_HEADER_BYTES, len(data))
    return [each for each in found if isinstance(each, Record)]


def of_kind(folder: StoreFolder, kind: int) -> list[Record]:
    return [each for each in records(folder) if each.header.kind == kind]


def spoil(folder: StoreFolder, record: Record, *, at: int = RECORD_HEADER_BYTES) -> None:
    with folder.segment(record.place.segment).open("r+b") as file:
        file.seek(record.place.offset + at)
        (byte,) = file.read(1)
        file.seek(record.place.offset + at)
        file.write(bytes([byte ^ 1]))


def test_the_former_catalog_is_kept_beside_the_new_one(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST))
    for number in (1, 2):
        done, findings = rebuild(folder)
        assert (done.versions, done.lost, findings) == (1, 0, [])
        assert done.former == str(folder.path / f"catalog.before-{number}")
        former = rocks(done.former)
        assert former.get("heads", b"default\0a") is not None
        former.close()
    with folder.opened() as store:
        assert contents(store) == {"a": FIRST}


def test_a_store_in_use_is_left_alone(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST))
        with pytest.raises(Conflict):
            rebuild(folder)


def test_a_folder_without_segments_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        rebuild(StoreFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["mkdir", "rename"])
def test_a_process_that_dies_leaves_the_one_catalog_or_the_other(folder: StoreFolder, call: str) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST))
    dies_at = 0
    while True:
        dies_at += 1
        if not dies(folder, call, dies_at):
            break
        with folder.opened() as store:
            assert contents(store) == {"a": FIRST}
    assert dies_at > 1


def dies(folder: StoreFolder, call: str, dies_at: int) -> bool:
    real, calls = getattr(os, call), 0

    def dying(*arguments: object, **named_ones: object) -> object:
        nonlocal calls
        calls += 1
        if calls == dies_at:
            raise KeyboardInterrupt
        return real(*arguments, **named_ones)

    with mock.patch.object(os, call, dying):
        try:
            rebuild(folder)
        except KeyboardInterrupt:
            return True
    return False


def test_two_names_are_exchanged_where_the_system_cannot_do_it_at_once(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    with mock.patch.object(files, "_renameat2", None):
        files.exchange(str(tmp_path / "one"), str(tmp_path / "other"))
    assert (os.listdir(tmp_path / "one"), os.listdir(tmp_path / "other")) == (["other"], ["one"])


def test_what_was_not_committed_does_not_come_back(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("kept", FIRST))
        commit(store, new_version("torn", SECOND))
    last = of_kind(folder, KIND_COMMIT)[-1]
    os.truncate(folder.segment(), last.place.offset + 10)
    lose_catalog(folder)
    done, findings = rebuild(folder)
    assert done.uncommitted_bytes > 0
    assert findings == []
    with folder.opened() as store:
        assert contents(store) == {"kept": FIRST}
        commit(store, new_version("torn", SECOND))
    with folder.opened() as store:
        assert contents(store) == {"kept": FIRST, "torn": SECOND}


def test_a_damaged_chunk_comes_back_as_damaged_and_heals(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST, SECOND))
        commit(store, new_version("b", SECOND))
    spoil(folder, of_kind(folder, KIND_CHUNK)[0])
    lose_catalog(folder)
    done, findings = rebuild(folder)
    assert (done.versions, done.lost, done.damaged_regions) == (2, 0, 1)
    assert [each.kind for each in findings] == ["damaged-region", "damaged-chunk"]
    with folder.opened() as store:
        assert store.has_damage
        with pytest.raises(Corrupt):
            contents(store)
        assert commit(store, new_version("c", FIRST)).added.chunks == 1
        assert contents(store) == {"a": FIRST + SECOND, "b": SECOND, "c": FIRST}
        assert not store.has_damage


def test_another_copy_takes_the_place_of_a_damaged_one(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST))
        spoil(folder, of_kind(folder, KIND_CHUNK)[0])
        with pytest.raises(Corrupt):
            contents(store)
        commit(store, new_version("b", FIRST))
    lose_catalog(folder)
    rebuild(folder)
    with folder.opened() as store:
        assert contents(store) == {"a": FIRST, "b": FIRST}
        assert not store.has_damage


def test_versions_whose_manifest_page_or_chunk_is_missing_are_named(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, open_catalog=rocks)
    long = LongObject(1)
    with folder.opened() as store:
        commit(store, long.new_version("long", number=long.stage(store)))
        commit(store, new_version("short", FIRST))
        commit(store, new_version("other", SECOND))
    spoil(folder, of_kind(folder, KIND_PAGE)[0])
    spoil(
        folder,
        next(each for each in of_kind(folder, KIND_CHUNK) if each.header.digest == Digest.of(FIRST)),
        at=1,
    )
    lose_catalog(folder)
    done, findings = rebuild(folder)
    lost = {each.data["object_id"]: each.message for each in findings if each.kind == "lost-version"}
    assert done.lost == 2
    assert "page 0" in lost["long"]
    assert "chunk" in lost["short"]
    with folder.opened() as store:
        assert contents(store) == {"other": SECOND}
        commit(store, new_version("short", FIRST))
        assert contents(store) == {"short": FIRST, "other": SECOND}


def test_a_missing_segment_takes_only_what_was_in_it(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, open_catalog=rocks, segment_bytes_max=300)
    payloads = {f"object {number}": noise(number, 200) for number in range(8)}
    with folder.opened() as store:
        for key, payload in payloads.items():
            commit(store, new_version(key, payload))
    folder.segment(2).unlink()
    lose_catalog(folder)
    rebuild(folder)
    with folder.opened() as store:
        found = contents(store)
    assert found.items() <= payloads.items()
    assert len(found) >= 6


@pytest.mark.parametrize("lost", ["missing", "short"])
@pytest.mark.parametrize("which", [2, -1])
def test_the_former_catalog_names_what_was_lost_with_a_segment(tmp_path: Path, lost: str, which: int) -> None:
    folder = StoreFolder(tmp_path, open_catalog=rocks, segment_bytes_max=300)
    with folder.opened() as store:
        commit(store, new_version("deleted", noise(9, 200)))
        for number in range(8):
            commit(store, new_version(f"object {number}", noise(number, 200)))
        delete(store, "deleted")
        before = {str(each.object_id) for each in listed(store)}
    segment = folder.path / "segments" / folder.segments()[which]
    if lost == "missing":
        segment.unlink()
    else:
        os.truncate(segment, SEGMENT_HEADER_BYTES + 1)
    done, findings = rebuild(folder)
    with folder.opened() as store:
        gone = before - set(contents(store))
    assert gone or which == -1
    assert {each.data["object_id"] for each in findings if each.kind == "lost-version"} - {"deleted"} == gone
    assert f"{lost}-segment" in {each.kind for each in findings}
    assert done.compared
    assert done.lost == sum(each.kind == "lost-version" for each in findings)


def test_what_was_deleted_since_an_older_former_catalog_is_not_called_lost(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST))
    older = folder.path.parent / "older"
    shutil.copytree(folder.path / "catalog", older)
    with folder.opened() as store:
        delete(store, "a")
    lose_catalog(folder)
    older.rename(folder.path / "catalog")
    done, findings = rebuild(folder)
    assert (done.compared, done.versions, findings) == (True, 0, [])


def test_a_version_that_does_not_come_back_is_named_once(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST))
    spoil(folder, of_kind(folder, KIND_CHUNK)[0], at=1)
    done, findings = rebuild(folder)
    assert (done.compared, done.lost) == (True, 1)
    assert [each.kind for each in findings] == ["damaged-region", "lost-version"]


def test_without_a_former_catalog_it_says_that_nothing_was_compared(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST))
    lose_catalog(folder)
    assert not rebuild(folder)[0].compared
    for file in (folder.path / "catalog").iterdir():
        file.write_bytes(b"rot")
    done, findings = rebuild(folder)
    assert (done.compared, done.versions, findings) == (False, 1, [])


def test_a_damaged_header_of_a_segment_is_written_again(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, open_catalog=rocks, segment_bytes_max=300)
    with folder.opened() as store:
        for number in range(4):
            commit(store, new_version(f"object {number}", noise(number, 200)))
    with folder.segment(1).open("r+b") as file:
        file.write(bytes(SEGMENT_HEADER_BYTES))
    lose_catalog(folder)
    _, findings = rebuild(folder)
    assert [each.kind for each in findings] == ["damaged-header"]
    with folder.opened() as store:
        assert len(contents(store)) == 4


def test_segments_of_two_stores_are_not_mixed(tmp_path: Path) -> None:
    one, other = (StoreFolder(tmp_path / name, open_catalog=rocks, segment_bytes_max=300) for name in "ab")
    for folder in (one, other):
        with folder.opened() as store:
            for number in range(4):
                commit(store, new_version(f"object {number}", noise(number, 200)))
    shutil.copy(other.segment(2), one.segment(2))
    with pytest.raises(Corrupt, match="different stores"):
        rebuild(one)


def test_a_bucket_whose_record_is_lost_keeps_its_objects(folder: StoreFolder) -> None:
    with folder.opened() as store:
        store.set_bucket(KEPT, Versioning.SUSPENDED)
        commit(store, new_version("a", FIRST, bucket=KEPT))
    spoil(folder, of_kind(folder, KIND_BUCKET)[0])
    lose_catalog(folder)
    _, findings = rebuild(folder)
    assert [each.kind for each in findings] == ["damaged-region", "lost-bucket"]
    with folder.opened() as store:
        assert store.bucket(KEPT).versioning == Versioning.ON
        assert [each.object_id for each in listed(store, bucket=KEPT)] == ["a"]


def test_what_a_chunk_holds_is_not_taken_for_records(tmp_path: Path) -> None:
    """An object may be a copy of a segment, and the header of its chunk may rot."""
    other = StoreFolder(tmp_path / "other", open_catalog=rocks)
    with other.opened() as store:
        commit(store, new_version("of another store", SECOND))
    copy = b"".join(
        encode_record_header(each.header.digest, each.payload, kind=each.header.kind) + bytes(each.payload)
        for each in records(other)
    )
    folder = StoreFolder(tmp_path / "node", open_catalog=rocks)
    with folder.opened() as store:
        commit(store, new_version("copy", copy))
        commit(store, new_version("behind", FIRST))
    chunk = next(each for each in of_kind(folder, KIND_CHUNK) if bytes(each.payload) == copy)
    for at in (20, 50, RECORD_HEADER_BYTES):
        spoil(folder, chunk, at=at)
    lose_catalog(folder)
    rebuild(folder)
    with folder.opened() as store:
        assert {each.object_id for each in listed(store)} <= {"copy", "behind"}


def test_a_damaged_drop_brings_only_what_it_ended_back(folder: StoreFolder) -> None:
    with folder.opened() as store:
        for text in (FIRST, SECOND):
            commit(store, new_version("a", text))
        delete(store, "a")
        commit(store, new_version("b", FIRST))
    replaced, deleted = of_kind(folder, KIND_DROP)
    spoil(folder, replaced)
    lose_catalog(folder)
    rebuild(folder)
    with folder.opened() as store:
        assert contents(store) == {"a": FIRST, "b": FIRST}
    spoil(folder, deleted)
    _, findings = rebuild(folder)
    assert "replaced" in [each.kind for each in findings]
    with folder.opened() as store:
        assert contents(store) == {"a": SECOND, "b": FIRST}


def test_what_was_deleted_does_not_come_back_from_a_segment_that_compaction_had_to_keep(
    tmp_path: Path,
) -> None:
    folder = StoreFolder(tmp_path, open_catalog=rocks)
    with folder.opened() as store:
        commit(store, new_version("deleted", FIRST))
        unreadable = of_kind(folder, KIND_CHUNK)[0]
        spoil(folder, unreadable)
        assert compact(store, 1).bytes_copied
        assert store.parts.segments.holds(1)
        delete(store, "deleted")
        compact_newer(store)
    # Some damage passes: a cable, a controller.
    spoil(folder, unreadable)
    for _ in range(2):
        lose_catalog(folder)
        rebuild(folder)
        with folder.opened() as store:
            assert listed(store) == []
            compact_newer(store)


def compact_newer(store: NodeStore) -> None:
    for number in store.parts.segments.numbers[1:]:
        compact(store, number)
