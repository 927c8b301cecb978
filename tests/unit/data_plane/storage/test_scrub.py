"""The scrub finds what rots although nobody reads it, and deals with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from replicator.data_plane.ports import Versioning
from replicator.data_plane.storage import scrub_segment
from replicator.data_plane.storage.findings import Finding
from replicator.data_plane.storage.pace import Interrupted
from replicator.data_plane.storage.rebuild import rebuild_catalog
from replicator.data_plane.storage.record import (
    KIND_BUCKET,
    KIND_CHUNK,
    KIND_MANIFEST,
    KIND_PAGE,
    KIND_VERSION,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    encode_record_header,
)
from replicator.data_plane.storage.scrub import Scrubber, ScrubPolicy
from replicator.data_plane.storage.store import NodeStore
from replicator.data_plane.storage.walk import Record, walk
from replicator.kernel.errors import Corrupt
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.testing.node_store import StoreFolder, rocks
from replicator.testing.objects import (
    LongObject,
    commit,
    delete,
    listed,
    named,
    new_version,
    noise,
    read_all,
    ref_of,
)
from replicator.testing.rewinding import PowerCut
from replicator.testing.waiting import wait_until

FAST = ScrubPolicy(period_s=0.001, bytes_per_s_max=1 << 40)
FIRST, SECOND = b"first", b"other"
KEPT = BucketName("kept")


class Watched:
    """A scrubber of a store, and what it told."""

    def __init__(
        self, store: NodeStore, policy: ScrubPolicy = FAST, sleep: Callable[[float], None] | None = None
    ) -> None:
        self.read: list[int] = []
        self.damage: list[str] = []
        self.broken: list[Exception] = []
        self.scrubber = Scrubber(
            store.parts,
            policy=policy,
            on_read=self.read.append,
            on_damage=self.damage.append,
            on_broken=self.broken.append,
            sleep=sleep,
        )


def scrub(store: NodeStore) -> list[str]:
    """Families of the living records that one scrub finds damaged."""
    watched = Watched(store)
    status = watched.scrubber.run_once()
    assert status.damaged == len(watched.damage)
    return sorted(watched.damage)


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    return StoreFolder(tmp_path / "node")


def records(folder: StoreFolder, number: int = 1) -> list[Record]:
    data = folder.segment(number).read_bytes()
    found = walk(lambda at, length: data[at : at + length], number, SEGMENT_HEADER_BYTES, len(data))
    return [each for each in found if isinstance(each, Record)]


def overwrite(folder: StoreFolder, offset: int, data: bytes, number: int = 1) -> None:
    with folder.segment(number).open("r+b") as file:
        file.seek(offset)
        file.write(data)


def content(store: NodeStore, object_id: str) -> bytes:
    head = store.head(DEFAULT_BUCKET, ObjectId(object_id))
    assert head is not None
    return read_all(store, store.manifest(head.manifest))


def test_a_whole_store_is_found_whole_and_every_byte_of_it_is_read(folder: StoreFolder) -> None:
    with folder.opened() as store:
        for seed in range(20):
            commit(store, new_version(f"object {seed}", noise(seed, 1000)))
        watched = Watched(store)
        status = watched.scrubber.run_once()
        assert (status.damaged, status.round) == (0, 1)
        assert sum(watched.read) == folder.segment().stat().st_size - SEGMENT_HEADER_BYTES
        assert not store.has_damage


def test_damage_that_nobody_has_read_is_quarantined_until_a_good_copy_comes(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST, SECOND))
        overwrite(folder, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES, b"F")
        assert scrub(store) == ["chunks"]
        with pytest.raises(Corrupt):
            store.read([ref_of(FIRST)])
    with folder.opened() as store:
        assert store.has_damage
        assert commit(store, new_version("b", FIRST, SECOND)).added.chunks == 1
        assert content(store, "a") == FIRST + SECOND
        assert scrub(store) == []


def test_a_record_that_is_whole_but_holds_other_bytes_is_not_read_any_more(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST, SECOND))
        # As if memory had rotted between the hashing and the writing.
        wrong = b"worst"
        overwrite(folder, SEGMENT_HEADER_BYTES, encode_record_header(ref_of(FIRST).digest, wrong) + wrong)
        assert bytes(store.read([ref_of(FIRST)])) == wrong
        assert scrub(store) == ["chunks"]
    for _ in range(2):
        with folder.opened() as store, pytest.raises(Corrupt, match="other bytes"):
            store.read([ref_of(FIRST)])
    with folder.opened() as store:
        assert store.locate([ref_of(FIRST).digest], intact=True) == [None]
        commit(store, new_version("b", FIRST))
        assert content(store, "a") == FIRST + SECOND
    with folder.opened() as store:
        assert content(store, "a") == FIRST + SECOND
        assert not store.has_damage


def store_other_bytes(folder: StoreFolder) -> None:
    """Put a record that is whole, but not what its digest names, in place of the first chunk."""
    digest, wrong = ref_of(FIRST).digest, b"worst"
    overwrite(folder, SEGMENT_HEADER_BYTES, encode_record_header(digest, wrong) + wrong)


def test_a_read_that_ends_behind_the_scrub_does_not_lift_the_quarantine(
    folder: StoreFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST, SECOND))
        store_other_bytes(folder)
        read = store.parts.segments.read

        def read_and_scrub(*args: Any, **named: Any) -> memoryview:
            block = read(*args, **named)
            monkeypatch.undo()
            scrub(store)
            return block

        monkeypatch.setattr(store.parts.segments, "read", read_and_scrub)
        store.read([ref_of(FIRST)])
        assert commit(store, new_version("b", FIRST)).added.chunks == 1
        assert content(store, "a") == FIRST + SECOND


def test_a_chunk_that_was_healed_stays_so_after_a_power_cut(tmp_path: Path) -> None:
    scene = PowerCut(tmp_path, segment_bytes_max=2**20)
    with scene.folder.opened() as store:
        commit(store, new_version("a", FIRST, SECOND))
        store_other_bytes(scene.folder)
        scrub(store)
        commit(store, new_version("b", FIRST))
        scene.stop()
    for moment in scene.moments:
        scene.back(moment)
        with scene.folder.opened() as store:
            assert content(store, "a") == FIRST + SECOND
            assert content(store, "b") == FIRST


def test_damage_in_what_nothing_refers_to_is_passed_by(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST))
        overwrite(folder, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES, b"F")
        assert scrub(store) == ["chunks"]
        commit(store, new_version("b", FIRST))
        assert scrub(store) == []


def fill(store: NodeStore) -> LongObject:
    long = LongObject(3)
    store.set_bucket(KEPT, Versioning.ON)
    commit(store, new_version("a", FIRST, SECOND))
    commit(store, new_version("a", SECOND, bucket=KEPT))
    delete(store, "a", bucket=KEPT)
    commit(store, long.new_version("long", number=long.stage(store)))
    return long


@pytest.mark.parametrize("where", [0, RECORD_HEADER_BYTES // 2, RECORD_HEADER_BYTES, -1], ids=str)
def test_damaged_entries_are_written_to_the_log_again(tmp_path: Path, where: int) -> None:
    folder = StoreFolder(tmp_path / "node", open_catalog=rocks)
    with folder.opened() as store:
        long = fill(store)
        damaged = [each for each in records(folder) if each.header.kind in ENTRY_FAMILIES]
        for each in damaged:
            offset = each.place.offset + where if where >= 0 else each.end - 1
            overwrite(folder, offset, bytes([folder.segment().read_bytes()[offset] ^ 0xFF]))
        assert scrub(store) == sorted(ENTRY_FAMILIES[each.header.kind] for each in damaged)
        assert scrub(store) == []
    shutil.rmtree(folder.path / "catalog")
    findings: list[Finding] = []
    rebuild_catalog(str(folder.path), open_catalog=rocks, on_finding=findings.append)
    assert {each.kind for each in findings} == {"damaged-region"}
    with folder.opened() as store:
        assert content(store, "a") == FIRST + SECOND
        assert content(store, "long") == long.data
        assert [each.object_id for each in listed(store)] == ["a", "long"]
        assert len(store.versions(KEPT, ObjectId("a"), None, 10)) == 2
        assert store.head(KEPT, ObjectId("a")) is None
        assert store.bucket(KEPT).versioning == Versioning.ON


ENTRY_FAMILIES = {
    KIND_MANIFEST: "manifests",
    KIND_PAGE: "pages",
    KIND_VERSION: "versions",
    KIND_BUCKET: "buckets",
}


def test_all_that_was_in_a_zeroed_region_is_found(folder: StoreFolder) -> None:
    payloads = [noise(seed, 500) for seed in range(20)]
    with folder.opened() as store:
        store.add(named(*payloads))
        commit(store, new_version("a", *payloads))
        chunks = [each for each in records(folder) if each.header.kind == KIND_CHUNK]
        hit = chunks[3:9]
        overwrite(folder, hit[0].place.offset + 10, bytes(hit[-1].place.offset - hit[0].place.offset))
        assert scrub(store) == ["chunks"] * len(hit)
        assert store.parts.chunks.damaged == {each.header.digest for each in hit}
        for payload in payloads[9:]:
            assert bytes(store.read([ref_of(payload)])) == payload


def test_a_search_of_the_whole_catalog_ends_when_it_is_to_end(
    folder: StoreFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub_segment, "ROWS_PER_PAUSE", 2)

    def end(_: float) -> None:
        raise Interrupted("it is to end")

    with folder.opened() as store:
        commit(store, new_version("a", FIRST, SECOND))
        entry = next(each for each in records(folder) if each.header.kind == KIND_VERSION)
        overwrite(folder, entry.place.offset, bytes(RECORD_HEADER_BYTES))
        watched = Watched(store, sleep=end)
        with pytest.raises(Interrupted):
            watched.scrubber.run_once()
        assert watched.scrubber.status().offset <= entry.place.offset
        assert scrub(store) == ["versions"]


def test_a_segment_that_was_removed_meanwhile_is_left_out(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, segment_bytes_max=300)
    with folder.opened() as store:
        for seed in range(6):
            commit(store, new_version(f"object {seed}", noise(seed, 400)))
        second = store.parts.segments.numbers[1]

        def remove_the_second(_: float) -> None:
            if store.parts.segments.holds(second):
                store.parts.segments.remove(second)

        slow = ScrubPolicy(period_s=1, bytes_per_s_max=1)
        watched = Watched(store, slow, remove_the_second)
        assert watched.scrubber.run_once().damaged == 0
        assert watched.broken == []


def test_it_goes_on_where_it_was_after_a_restart(tmp_path: Path) -> None:
    folder = StoreFolder(tmp_path, segment_bytes_max=2000)
    with folder.opened() as store:
        for seed in range(12):
            commit(store, new_version(f"object {seed}", noise(seed, 900)))
        watched = Watched(store, ScrubPolicy(period_s=1, bytes_per_s_max=1), sleep=stop_after(3))
        with pytest.raises(Interrupted):
            watched.scrubber.run_once()
        reached = watched.scrubber.status()
        assert reached.bytes_done > 0
    with folder.opened() as store, background(store) as watched:
        assert watched.scrubber.status().segment >= reached.segment
        wait_until(lambda: watched.scrubber.status().round == 1, "the round is complete")
        assert sum(watched.read) == reached.bytes_total - reached.bytes_done
        assert watched.broken == []


def stop_after(calls: int) -> Callable[[float], None]:
    left = iter(range(calls))

    def sleep(_: float) -> None:
        if next(left, None) is None:
            raise Interrupted("the test stops it")

    return sleep


@contextmanager
def background(store: NodeStore, policy: ScrubPolicy = FAST) -> Iterator[Watched]:
    watched = Watched(store, policy)
    watched.scrubber.start()
    try:
        yield watched
    finally:
        watched.scrubber.stop()


def test_a_scrub_by_hand_does_not_wait_for_the_slow_one(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", FIRST, SECOND))
        overwrite(folder, SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES, b"F")
        with background(store, ScrubPolicy(period_s=1e9, bytes_per_s_max=1 << 30)) as watched:
            wait_until(lambda: watched.scrubber.status().began_ms is not None, "the slow scrub has begun")
            assert watched.scrubber.run_once().damaged == 1
        assert watched.broken == []


def test_it_reads_no_faster_than_it_may(folder: StoreFolder) -> None:
    slept: list[float] = []
    with folder.opened() as store:
        commit(store, new_version("a", noise(1, 10_000)))
        length = folder.segment().stat().st_size - SEGMENT_HEADER_BYTES

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            folder.clock.now_ms += round(1000 * seconds)

        watched = Watched(store, ScrubPolicy(period_s=1, bytes_per_s_max=100), sleep)
        watched.scrubber.run_once()
    assert sum(slept) == pytest.approx(length / 100, rel=0.01)
