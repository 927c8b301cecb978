"""Opening after the process died: what was acknowledged is whole, the rest is whole or gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicator.data_plane.ports import Added
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.record import SEGMENT_HEADER_BYTES, encode_record_header
from replicator.data_plane.storage.recovery import Recovered
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.digest import Digest
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import LongObject, commit, listed, named, new_version, noise, read_all
from replicator.testing.waiting import wait_until

KEPT = (b"kept one", b"kept two")
TORN = b"torn"


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    return StoreFolder(tmp_path / "node")


def content(store: NodeStore, object_id: str) -> bytes:
    version = store.head(DEFAULT_BUCKET, ObjectId(object_id))
    assert version is not None
    return read_all(store, store.manifest(version.manifest))


def commit_then_add(folder: StoreFolder) -> tuple[int, bytes]:
    """A segment with an acknowledged object and a chunk behind it that no commit followed.

    Returns where the acknowledged bytes end, and the whole file.
    """
    with folder.opened() as store:
        commit(store, new_version("kept", *KEPT))
        end = folder.segment().stat().st_size
        store.add(named(TORN))
    return end, folder.segment().read_bytes()


def check_after_tearing(folder: StoreFolder, whole: bytes, *, end: int, length: int) -> None:
    folder.segment().write_bytes(whole[:length])
    opened = folder.open()
    is_whole = length == len(whole)
    found = opened.store.locate([Digest.of(TORN)])
    intact = content(opened.store, "kept")
    opened.close()
    assert intact == b"".join(KEPT)
    assert found == [len(TORN) if is_whole else None], length
    assert opened.recovered == (Recovered(chunks=1) if is_whole else Recovered(bytes_cut=length - end))
    assert folder.segment().stat().st_size == (length if is_whole else end)


def test_a_tail_torn_at_any_byte_is_cut_off(folder: StoreFolder) -> None:
    end, whole = commit_then_add(folder)
    for length in range(end, len(whole) + 1):
        check_after_tearing(folder, whole, end=end, length=length)


def test_a_torn_tail_is_cut_off_with_the_catalog_on_disk(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, open_catalog=rocks)
    end, whole = commit_then_add(folder)
    for length in (end, end + 1, end + 64, len(whole) - 1, len(whole)):
        check_after_tearing(folder, whole, end=end, length=length)


def record(payload: bytes) -> bytes:
    return encode_record_header(Digest.of(payload), payload) + payload


@pytest.mark.parametrize(
    "tail",
    [
        noise(1, 500),
        bytes(4096),
        b"RPCK" + noise(2, 200),
        record(TORN)[:8] + b"\xff" * 8 + record(TORN)[16:],
        record(TORN)[:-1] + b"?" + record(b"behind the damage"),
    ],
    ids=["garbage", "zeros", "a magic only", "an impossible length", "a damaged record before an intact one"],
)
def test_a_tail_that_is_no_record_is_cut_off_and_writing_goes_on(folder: StoreFolder, tail: bytes) -> None:
    with folder.opened() as store:
        commit(store, new_version("kept", *KEPT))
    with folder.segment().open("ab") as file:
        file.write(tail)
    opened = folder.open()
    assert opened.recovered == Recovered(bytes_cut=len(tail))
    commit(opened.store, new_version("later", TORN))
    opened.close()
    with folder.opened() as store:
        assert content(store, "kept") == b"".join(KEPT)
        assert content(store, "later") == TORN


def test_whole_records_that_were_not_committed_are_not_stored_twice(folder: StoreFolder) -> None:
    chunks = named(*(noise(seed, 100) for seed in range(3)))
    with folder.opened() as store:
        store.add(chunks)
    length = folder.segment().stat().st_size
    opened = folder.open()
    assert opened.recovered == Recovered(chunks=3)
    assert opened.store.add(chunks) == Added(0, 0)
    opened.close()
    assert folder.segment().stat().st_size == length
    opened = folder.open()
    assert opened.recovered == Recovered()
    opened.close()


def test_a_long_tail_is_taken_in_completely(folder: StoreFolder) -> None:
    payloads = [number.to_bytes(2) for number in range(4100)]
    with folder.opened() as store:
        store.add(named(*payloads))
    opened = folder.open()
    assert opened.recovered.chunks == 4100
    assert opened.store.locate([Digest.of(payloads[0]), Digest.of(payloads[-1])]) == [2, 2]
    opened.close()


def test_a_second_copy_of_a_known_chunk_in_the_tail_changes_nothing(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("kept", TORN))
    with folder.segment().open("ab") as file:
        file.write(record(TORN))
    opened = folder.open()
    assert opened.recovered == Recovered()
    assert content(opened.store, "kept") == TORN
    opened.close()


def test_segments_follow_one_another_and_are_all_read_after_a_restart(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, segment_bytes_max=300)
    payloads = {f"object {number}": noise(number, 100) for number in range(12)}
    for key, payload in payloads.items():
        with folder.opened() as store:
            commit(store, new_version(key, payload))
    assert len(folder.segments()) > 2
    with folder.opened() as store:
        commit(store, new_version("all", *payloads.values()))
        assert content(store, "all") == b"".join(payloads.values())
        assert {key: content(store, key) for key in payloads} == payloads


def test_tails_of_several_segments_are_recovered(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, segment_bytes_max=300)
    payloads = [noise(seed, 100) for seed in range(12)]
    with folder.opened() as store:
        for payload in payloads:
            store.add(named(payload))
    assert len(folder.segments()) > 2
    opened = folder.open()
    assert opened.recovered.chunks == 12
    commit(opened.store, new_version("all", *payloads))
    assert content(opened.store, "all") == b"".join(payloads)
    opened.close()


@pytest.mark.parametrize("begun", [b"", b"RPSEGMNT\x01", bytes(64), bytes(500)])
def test_a_segment_that_was_never_begun_is_made_anew(folder: StoreFolder, begun: bytes) -> None:
    folder.open().close()
    folder.segment().write_bytes(begun)
    opened = folder.open()
    assert opened.recovered == Recovered(bytes_cut=len(begun))
    commit(opened.store, new_version("kept", *KEPT))
    opened.close()
    with folder.opened() as store:
        assert content(store, "kept") == b"".join(KEPT)


def test_a_segment_that_holds_only_its_header_is_written_on(folder: StoreFolder) -> None:
    with folder.opened() as store:
        store.add(named(TORN))
    with folder.segment().open("r+b") as file:
        file.truncate(SEGMENT_HEADER_BYTES)
    opened = folder.open()
    assert opened.recovered == Recovered()
    commit(opened.store, new_version("kept", *KEPT))
    opened.close()
    with folder.opened() as store:
        assert content(store, "kept") == b"".join(KEPT)


def staged_rows(folder: StoreFolder) -> list[bytes]:
    catalog = folder.open_catalog("")
    references = [key for key, _ in catalog.scan("chunks", b"") if not rows.is_chunk_key(key)]
    pages = [key for key, _ in catalog.scan("pages", b"")]
    marks = [key for key, _ in catalog.scan("meta", rows.STAGED_PREFIX)]
    return references + pages + marks


def test_staged_pages_are_undone_after_a_restart(folder: StoreFolder) -> None:
    long = LongObject()
    with folder.opened() as store:
        number = long.stage(store)
    assert staged_rows(folder)
    with folder.opened() as store:
        assert store.stage() > number
        wait_until(lambda: not staged_rows(folder), "the staged pages are gone")
        commit(store, long.new_version("long", number=long.stage(store)))
        assert content(store, "long") == long.data


def test_discarded_pages_leave_no_rows(folder: StoreFolder) -> None:
    with folder.opened() as store:
        store.discard(LongObject().stage(store))
        wait_until(lambda: not staged_rows(folder), "the staged pages are gone")


def test_a_restart_leaves_the_pages_of_a_committed_object_alone(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, open_catalog=rocks)
    long = LongObject()
    with folder.opened() as store:
        commit(store, long.new_version("long", number=long.stage(store)))
    for _ in range(2):
        with folder.opened() as store:
            store.checkpoint()
            assert content(store, "long") == long.data


def test_version_ids_grow_across_a_restart_though_the_clock_went_back(folder: StoreFolder) -> None:
    with folder.opened() as store:
        before = commit(store, new_version("kept", *KEPT)).version.version
    folder.clock.now_ms -= 3_600_000
    with folder.opened() as store:
        assert commit(store, new_version("kept", TORN)).version.version > before


def test_everything_is_as_it_was_after_an_ordinary_restart(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, open_catalog=rocks)
    with folder.opened() as store:
        commit(store, new_version("a", *KEPT))
        commit(store, new_version("b/é"))
        store.post(1, 2, b"result")
        before = listed(store)
    opened = folder.open()
    assert opened.recovered == Recovered()
    assert listed(opened.store) == before
    assert opened.store.outbox() == [(1, 2, b"result")]
    opened.close()
