"""Space comes back: what compaction copies, what it leaves behind, and what it does not touch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from replicator.data_plane.ports import Versioning
from replicator.data_plane.storage import compaction, files
from replicator.data_plane.storage.compaction import Compactor, choose
from replicator.data_plane.storage.pace import Brake, Interrupted
from replicator.data_plane.storage.rows import Location
from replicator.data_plane.storage.store import NodeStore
from replicator.data_plane.upkeep import SegmentStats
from replicator.kernel.errors import Corrupt, QuotaExceeded
from replicator.kernel.names import BucketName
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import (
    LongObject,
    commit,
    delete,
    history,
    listed,
    manifest_of,
    named,
    new_version,
    noise,
    read_all,
    ref_of,
)
from replicator.testing.reclaiming import FREELY, check_accounts, collect, compact, compact_all

ONE, OTHER = noise(1, 1000), noise(2, 1000)
KEEPING = BucketName("keeping")


@pytest.fixture
def folder(tmp_path: Path) -> StoreFolder:
    return StoreFolder(tmp_path)


@pytest.fixture
def store(folder: StoreFolder) -> Iterator[NodeStore]:
    with folder.opened() as store:
        yield store


def test_segments_that_never_held_a_record_go(folder: StoreFolder) -> None:
    with folder.opened() as store:
        commit(store, new_version("a", ONE))
        for _ in range(3):
            store.parts.chunks.roll()
    with folder.opened() as store:
        for each in Compactor(store.parts, space_overhead_max=0.1).plan():
            assert compact(store, each.number).bytes_reclaimed
        assert store.parts.segments.numbers == [1, 4]
        assert not Compactor(store.parts, space_overhead_max=0.1).plan()
        commit(store, new_version("b", OTHER))
    with folder.opened() as store:
        assert len(listed(store)) == 2


def place_of(store: NodeStore, payload: bytes) -> Location:
    place = store.parts.chunks.find([ref_of(payload).digest])[ref_of(payload).digest]
    assert place is not None
    return place


def damage(folder: StoreFolder, place: Location) -> None:
    with folder.segment(place.segment).open("r+b") as file:
        file.seek(place.offset + 100)
        file.write(b"rot")


def test_only_what_is_alive_is_left(folder: StoreFolder, store: NodeStore) -> None:
    for number in range(40):
        commit(store, new_version(f"{number}", noise(number, 1000)))
    for number in range(1, 40):
        delete(store, f"{number}")
    collect(store)
    (done,) = compact_all(store)
    assert 1000 < done.bytes_copied < 1800
    assert done.bytes_reclaimed > 50_000
    assert folder.segments() == ["00000002.segment"]
    assert folder.segment(2).stat().st_size < 2000
    assert read_all(store, manifest_of(noise(0, 1000))) == noise(0, 1000)
    check_accounts(store)


def test_everything_survives_it_and_a_restart(folder: StoreFolder) -> None:
    long = LongObject()
    with folder.opened() as store:
        store.set_bucket(KEEPING, Versioning.ON)
        commit(store, long.new_version("long", number=long.stage(store)))
        for payload in (ONE, OTHER):
            commit(store, new_version("a", payload, bucket=KEEPING))
        delete(store, "a", bucket=KEEPING)
        told = history(store, "a", KEEPING)
        for _ in range(3):
            assert all(done.bytes_reclaimed for done in compact_all(store))
            assert folder.segments() == [f"{store.parts.segments.active:08d}.segment"]
    with folder.opened() as again:
        assert history(again, "a", KEEPING) == told
        assert [each.object_id for each in listed(again)] == ["long"]
        assert again.bucket(KEEPING).versioning == Versioning.ON
        assert read_all(again, long.manifest) == long.data
        assert read_all(again, manifest_of(OTHER)) == OTHER
        check_accounts(again)


def test_an_unfinished_manifest_is_copied_as_unfinished(folder: StoreFolder, store: NodeStore) -> None:
    long = LongObject()
    number = long.stage(store)
    compact(store, 1)
    commit(store, long.new_version("long", number=number))
    compact_all(store)
    assert read_all(store, long.manifest) == long.data
    store.discard(long.stage(store))
    check_accounts(store)


def test_orphans_go_but_for_those_that_are_held(store: NodeStore) -> None:
    with store.hold("a pull") as hold:
        store.add(named(ONE), hold)
        store.add(named(OTHER))
        compact(store, 1)
        assert store.locate([ref_of(ONE).digest, ref_of(OTHER).digest]) == [1000, None]
        new = new_version("a", ONE)
        new.chunks = ()
        commit(store, new)
    compact_all(store)
    assert read_all(store, manifest_of(ONE)) == ONE
    check_accounts(store)


def test_orphans_of_a_young_segment_are_kept(store: NodeStore) -> None:
    store.add(named(ONE))
    compact(store, 1, keep_orphans=True)
    assert store.add(named(ONE)).chunks == 0
    assert bytes(store.read([ref_of(ONE)])) == ONE


def test_a_reader_that_has_looked_a_chunk_up_still_gets_it(store: NodeStore) -> None:
    commit(store, new_version("a", ONE))
    read = store.parts.segments.read
    looked_up, moved = threading.Event(), threading.Event()

    def read_late(*args: object, **named: object) -> memoryview:
        looked_up.set()
        assert moved.wait(30)
        return read(*args, **named)  # type: ignore[arg-type]

    store.parts.segments.read = read_late  # type: ignore[method-assign]
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(bytes(store.read([ref_of(ONE)]))))
    reader.start()
    assert looked_up.wait(30)
    compact(store, 1)
    moved.set()
    reader.join(30)
    assert found == [ONE]


def test_a_drop_is_kept_as_long_as_what_it_ended_could_come_back(store: NodeStore) -> None:
    store.set_bucket(KEEPING, Versioning.ON)
    version = commit(store, new_version("a", ONE, bucket=KEEPING)).version
    store.parts.chunks.roll()
    delete(store, "a", bucket=KEEPING, version=version.version)
    compact(store, 2)
    assert store.parts.accounts.drops == {(1, 3): store.parts.accounts.drops_within(3)}
    commit(store, new_version("a", OTHER, bucket=KEEPING, version=version.version))
    compact(store, 3)
    assert [each.version for each in history(store, "a", KEEPING)] == [version.version]
    check_accounts(store)
    compact(store, 1)
    assert store.parts.accounts.drops == {}
    check_accounts(store)


def test_a_damaged_chunk_keeps_its_segment_until_a_good_copy_comes(
    folder: StoreFolder, store: NodeStore
) -> None:
    commit(store, new_version("a", ONE))
    commit(store, new_version("b", OTHER))
    damage(folder, place_of(store, ONE))
    assert compact(store, 1).bytes_reclaimed == 0
    assert store.has_damage
    assert read_all(store, manifest_of(OTHER)) == OTHER
    assert place_of(store, OTHER).segment != 1
    with pytest.raises(Corrupt):
        store.read([ref_of(ONE)])
    commit(store, new_version("c", ONE))
    assert not store.has_damage
    assert compact(store, 1).bytes_reclaimed
    assert read_all(store, manifest_of(ONE)) == ONE
    check_accounts(store)


def test_a_lost_orphan_is_not_taken_for_one_that_is_here(folder: StoreFolder, store: NodeStore) -> None:
    store.add(named(ONE))
    commit(store, new_version("b", OTHER))
    damage(folder, place_of(store, ONE))
    assert compact(store, 1).bytes_reclaimed
    assert store.locate([ref_of(ONE).digest]) == [None]
    assert commit(store, new_version("a", ONE)).added.chunks == 1
    assert read_all(store, manifest_of(ONE)) == ONE
    check_accounts(store)


class EndsOnceNothingLives(Brake):
    """Ends work once nothing is alive in the first segment: all that is left to do then is to search."""

    def __init__(self, store: NodeStore) -> None:
        super().__init__(self.check)
        self._live = store.parts.accounts.live

    def check(self) -> None:
        if not self._live.get(1):
            raise Interrupted("it is to end")


def test_a_search_for_what_is_left_in_a_segment_ends_when_it_is_to_end(
    folder: StoreFolder, store: NodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "ROWS_PER_PAUSE", 1)
    store.add(named(ONE))
    commit(store, new_version("b", OTHER))
    damage(folder, place_of(store, ONE))
    with pytest.raises(Interrupted):
        compact(store, 1, brake=EndsOnceNothingLives(store))
    assert store.parts.segments.holds(1)
    assert compact(store, 1).bytes_reclaimed
    assert read_all(store, manifest_of(OTHER)) == OTHER


def test_drops_that_a_kept_segment_needs_are_not_copied_again_and_again(
    folder: StoreFolder, store: NodeStore
) -> None:
    commit(store, new_version("rotten", ONE))
    damaged = place_of(store, ONE)
    store.parts.chunks.roll()
    damage(folder, damaged)
    for number in range(100):
        commit(store, new_version(f"{number}", noise(number + 5, 300)))
        delete(store, f"{number}")
    collect(store)
    compactor = Compactor(store.parts, space_overhead_max=0.1)
    compacted: list[int] = []
    while chosen := [each for each in compactor.plan() if each.number not in (damaged.segment, *compacted)]:
        compactor.begin(chosen)
        compactor.compact(chosen[0].number, keep_orphans=False, brake=FREELY)
        compacted.append(chosen[0].number)
        assert len(compacted) < 5


def test_a_disk_that_somebody_else_has_filled_gets_its_space_back(
    folder: StoreFolder, store: NodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        commit(store, new_version(f"{number}", noise(number, 1000)))
    monkeypatch.setattr(files, "free_bytes", lambda _: 5_000_000)
    with pytest.raises(QuotaExceeded):
        commit(store, new_version("more", ONE))
    for number in range(20):
        delete(store, f"{number}")
    collect(store)
    (done,) = compact_all(store)
    assert done.bytes_reclaimed > 20_000
    assert folder.segments() == ["00000002.segment"]


def test_what_does_not_fit_on_the_disk_is_not_begun(
    store: NodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(store, new_version("kept", ONE))
    for number in range(9):
        commit(store, new_version("gone", noise(number, 1000)))
    delete(store, "gone")
    collect(store)
    compactor = Compactor(store.parts, space_overhead_max=0.1)
    assert compactor.plan()
    assert not compactor.lacks_room()
    monkeypatch.setattr(files, "free_bytes", lambda _: 1000)
    assert not compactor.plan()
    assert compactor.lacks_room()


def segment(number: int, *, live: int, dead: int) -> SegmentStats:
    return SegmentStats(number, 64 + live + dead, live)


def test_the_emptiest_segments_are_chosen_until_little_enough_is_dead() -> None:
    segments = [segment(1, live=95, dead=5), segment(2, live=50, dead=50), segment(3, live=0, dead=100)]
    assert [each.number for each in choose(segments, space_overhead_max=0.1)] == [3, 2]
    assert [each.number for each in choose(segments, space_overhead_max=0.5)] == [3]
    assert choose(segments, space_overhead_max=2) == []
    assert choose(segments, space_overhead_max=0.1, dead_bytes_min=1000) == []


def test_what_was_begun_is_chosen_first_and_what_is_refused_never() -> None:
    segments = [segment(1, live=95, dead=5), segment(2, live=50, dead=50), segment(3, live=0, dead=100)]
    assert [each.number for each in choose(segments, space_overhead_max=0.1, begun={1})] == [1, 3, 2]
    assert [each.number for each in choose(segments, space_overhead_max=0.1, refused={3})] == [2]


def test_a_store_without_garbage_is_left_alone() -> None:
    assert choose([segment(1, live=50, dead=0), segment(2, live=100, dead=0)], space_overhead_max=0) == []


def test_a_segment_without_any_record_is_chosen_always() -> None:
    empty, held = segment(1, live=0, dead=0), segment(2, live=100, dead=0)
    assert choose([empty, held], space_overhead_max=1) == [empty]
    assert choose([empty, held], space_overhead_max=1, refused=[1]) == []
