"""The upkeep of an open store: what it tells, its thread, and that work by hand comes first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from replicator.data_plane.ports import Version
from replicator.data_plane.storage.collect import Collector
from replicator.data_plane.storage.pace import Courtesy, Interrupted, Pace
from replicator.data_plane.storage.store import NodeStore
from replicator.data_plane.storage.upkeep import StoreUpkeep, UpkeepPolicy
from replicator.data_plane.upkeep import Referrer
from replicator.kernel.errors import InvalidRequest
from replicator.testing.clock import FrozenClock
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import LongObject, commit, delete, named, new_version, noise, ref_of
from replicator.testing.waiting import wait_until

POLICY = UpkeepPolicy(
    gc_grace_s=0, space_overhead_max=0.1, compaction_bytes_per_s_max=1 << 30, dead_bytes_min=0, period_s=0.001
)
ONE, OTHER = noise(1, 1000), noise(2, 1000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[NodeStore]:
    folder = StoreFolder(tmp_path)
    folder.clock.now_ms = 1 << 42
    with folder.opened() as store:
        yield store


@contextmanager
def working(upkeep: StoreUpkeep) -> Iterator[list[Exception]]:
    broken: list[Exception] = []
    upkeep.start(on_broken=broken.append)
    try:
        yield broken
    finally:
        upkeep.stop()


def garbage(store: NodeStore) -> None:
    for number in range(20):
        commit(store, new_version(f"{number}", noise(number, 1000)))
    for number in range(1, 20):
        delete(store, f"{number}")


def test_it_tells_what_takes_how_much(store: NodeStore) -> None:
    upkeep = StoreUpkeep(store.parts, policy=POLICY)
    garbage(store)
    before = upkeep.stats()
    assert (before.retiring_manifests, before.retiring_bytes) == (19, 19_000)
    assert before.live_bytes > 20_000
    with store.hold("an upload") as hold:
        store.add(named(OTHER), hold)
        assert upkeep.stats().held_chunks == 1
    collected = upkeep.collect()
    assert collected.manifests == 19
    after = upkeep.stats()
    assert after.retiring_manifests == 0
    assert after.live_bytes == before.live_bytes - collected.dead_bytes
    wanted = upkeep.compact(dry_run=True)
    assert upkeep.stats() == after
    done = upkeep.compact()
    assert (
        (done.segments, done.bytes_copied) == (wanted.segments, wanted.bytes_copied) == (1, after.live_bytes)
    )
    assert done.bytes_reclaimed >= collected.dead_bytes
    left = upkeep.stats()
    assert left.dead_bytes <= 0.1 * left.live_bytes
    assert (left.compacted_segments, left.reclaimed_bytes) == (1, done.bytes_reclaimed)
    assert [each.live_bytes for each in upkeep.segments()] == [left.live_bytes]


def test_the_thread_collects_and_compacts(store: NodeStore) -> None:
    upkeep = StoreUpkeep(store.parts, policy=POLICY)
    garbage(store)
    with working(upkeep) as broken:
        wait_until(lambda: upkeep.space().compacted_segments > 0, "a segment was compacted")
    assert upkeep.space().dead_bytes <= 0.1 * upkeep.space().live_bytes
    assert broken == []


def test_what_breaks_it_is_heard(store: NodeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Collector, "collect", None)
    with working(StoreUpkeep(store.parts, policy=POLICY)) as broken:
        wait_until(lambda: broken, "the thread broke")
    assert isinstance(broken[0], TypeError)


def test_nothing_begins_once_it_is_stopped(store: NodeStore) -> None:
    upkeep = StoreUpkeep(store.parts, policy=POLICY)
    upkeep.stop()
    for work in (upkeep.collect, upkeep.compact):
        with pytest.raises(Interrupted):
            work()


def test_work_by_hand_interrupts_the_thread(store: NodeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()
    upkeep = StoreUpkeep(store.parts, policy=POLICY)
    garbage(store)

    def wait_for_ever(_: object) -> None:
        begun.set()
        while True:
            upkeep._sleep(0.001)

    monkeypatch.setattr(Courtesy, "give_way", wait_for_ever)
    with working(upkeep):
        assert begun.wait(30)
        assert upkeep.collect().manifests == 19
        assert upkeep.compact().segments == 1


def test_a_backup_needs_a_folder(store: NodeStore) -> None:
    with pytest.raises(InvalidRequest, match="--backup-dir"):
        StoreUpkeep(store.parts, policy=POLICY).backup("today")
    assert StoreUpkeep(store.parts, policy=POLICY, backup=lambda name: f"/{name}").backup("today") == "/today"


def version_of(store: NodeStore, object_id: str, *payloads: bytes) -> Version:
    return commit(store, new_version(object_id, *payloads)).version


def test_explain_names_what_keeps_a_chunk(store: NodeStore) -> None:
    versions = [version_of(store, "a", ONE), version_of(store, "b", ONE, OTHER), version_of(store, "c", ONE)]
    version_of(store, "d", noise(3, 10), ONE)
    delete(store, "d")
    with store.hold("a read of 'a'") as hold:
        store.pin(versions[0].manifest, hold)
        told = StoreUpkeep(store.parts, policy=POLICY).explain(ref_of(ONE).digest)
    assert (told.segment, told.stored_bytes, told.raw_bytes, told.damaged) == (1, 1000, 1000, False)
    assert (told.references, told.staged, told.retiring) == (3, 0, 1)
    assert told.referrers == [Referrer(each.bucket, each.object_id, each.version) for each in versions]
    assert told.holds == ["a read of 'a'"]
    assert len(StoreUpkeep(store.parts, policy=POLICY).explain(ref_of(ONE).digest, limit=1).referrers) == 1


def test_explain_knows_of_work_in_progress_and_of_nothing(store: NodeStore) -> None:
    upkeep = StoreUpkeep(store.parts, policy=POLICY)
    long = LongObject()
    long.stage(store)
    told = upkeep.explain(ref_of(long.payloads[0]).digest)
    assert (told.references, told.staged, told.referrers) == (1, 1, [])
    told = upkeep.explain(ref_of(ONE).digest)
    assert (told.segment, told.references, told.holds) == (None, 0, [])


def test_the_pace_is_kept_on_average() -> None:
    clock, slept = FrozenClock(), 0.0

    def sleep(seconds: float) -> None:
        nonlocal slept
        slept += seconds
        clock.now_ms += round(seconds * 1000)

    pace = Pace(1000, clock=clock, sleep=sleep)
    for _ in range(100):
        pace.take(50)
    assert 4.8 < slept <= 5


def test_it_gives_way_but_not_for_ever(store: NodeStore) -> None:
    slept: list[float] = []
    courtesy = Courtesy(store.parts, sleep=slept.append)
    courtesy.give_way()
    assert slept == []
    commit(store, new_version("a", ONE))
    courtesy.give_way()
    assert len(slept) == 1
    commit(store, new_version("b", ONE))
    courtesy.own()
    courtesy.give_way()
    assert len(slept) == 1
    with store.hold("a read that takes for ever"):
        courtesy.give_way()
    assert 1 < len(slept) < 20
