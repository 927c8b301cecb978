"""What a dry run promises: exact to the byte, whatever objects share, and estimates beside it."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import pytest

from replicator.data_plane.replication import seen
from replicator.data_plane.replication.ports import Offer, Wanted
from replicator.data_plane.replication.seen import SeenDigests
from replicator.data_plane.replication.serving import Serving
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, Corrupt, NotFound, ReplicatorError, TooLarge
from replicator.kernel.manifest import Manifest
from replicator.kernel.names import DEFAULT_BUCKET
from replicator.testing.memory_store import MemoryStore
from replicator.testing.objects import LongObject, commit, noise, upload
from replicator.testing.two_nodes import TwoNodes, put
from replicator.wire.sessions import Plan


@pytest.fixture
def nodes() -> TwoNodes:
    return TwoNodes()


def plan_of(nodes: TwoNodes, **asked: Any) -> Plan:
    plan = nodes.survey_task(dry_run=True, **asked).plan
    assert plan is not None
    return plan


def test_a_chunk_that_several_objects_lack_counts_once(nodes: TwoNodes) -> None:
    shared, own, here = noise(1, 1000), noise(2, 300), noise(3, 70)
    put(nodes.destination, "other", here)
    put(nodes.source, "a", shared, own, shared)
    put(nodes.source, "b", shared, here)
    plan = plan_of(nodes)
    assert (plan.objects_to_transfer, plan.bytes_logical) == (2, 3370)
    assert plan.bytes_lacking == 1300
    assert plan.bytes_deduplicated == 3370 - 1300


def test_what_agrees_or_is_newer_here_is_not_to_come(nodes: TwoNodes) -> None:
    for store in (nodes.source, nodes.destination):
        put(store, "same", b"1")
    put(nodes.source, "newer", b"old", number=1)
    put(nodes.destination, "newer", b"new", number=2)
    put(nodes.destination, "extra", b"1")
    plan = plan_of(nodes, extras=True)
    assert (plan.objects_to_transfer, plan.objects_unchanged, plan.objects_to_delete) == (0, 1, 1)
    assert (plan.bytes_lacking, plan.bytes_logical, plan.estimate_bytes_saved) == (0, 0, 0)


def test_long_manifests_are_counted_page_by_page(nodes: TwoNodes) -> None:
    long = LongObject()
    commit(nodes.source, long.new_version("long", number=long.stage(nodes.source)))
    plan = plan_of(nodes)
    assert plan.bytes_logical == long.manifest.size
    assert plan.bytes_lacking == sum(map(len, long.payloads))


def test_the_whole_scope_is_planned_and_the_first_findings_are_listed(nodes: TwoNodes) -> None:
    for number in range(700):
        put(nodes.source, f"{number:03}", noise(number, 10))
    nodes.task_s = 0
    result = nodes.survey_task(dry_run=True, found_max=3)
    assert result.cursor is None
    assert [found.object_id for found in result.found] == ["000", "001", "002"]
    assert result.plan is not None
    assert (result.plan.objects_to_transfer, result.plan.bytes_lacking) == (700, 7000)


def test_what_delta_and_compression_save_is_estimated_apart(nodes: TwoNodes) -> None:
    put(nodes.source, "noise", noise(1, 1000))
    plan = plan_of(nodes)
    assert plan.bytes_lacking == 1000
    assert plan.estimate_bytes_saved == 0
    upload(nodes.source, "zeros", bytes(200_000))
    plan = plan_of(nodes)
    assert plan.bytes_lacking == 201_000
    assert plan.estimate_bytes_saved is not None
    assert plan.estimate_bytes_saved > 100_000
    assert plan.estimate_seconds is None


def test_nothing_is_changed(nodes: TwoNodes) -> None:
    put(nodes.source, "a", b"1")
    plan_of(nodes)
    assert nodes.destination.locate([Digest.of(b"1")]) == [None]
    assert nodes.destination.list_objects(DEFAULT_BUCKET, "", limit=1).versions == []


def test_digests_are_remembered_exactly_when_they_spill(tmp_path: pathlib.Path) -> None:
    digests = [Digest.of(b"%d" % number) for number in range(5000)]
    with SeenDigests(str(tmp_path), in_memory_max=100) as known:
        for first in range(0, 5000, 50):
            some = digests[first : first + 50]
            assert known.add([*some, *some]) == set(some)
            # Nobody else finds the file, and a crash leaves none.
            assert os.listdir(tmp_path) == []
        assert known.add(digests) == set()
        assert known.add([Digest.of(b"new"), digests[0]]) == {Digest.of(b"new")}
    assert not [name for name in os.listdir("/proc/self/fd") if _target(name).startswith(str(tmp_path))]


def test_more_than_one_query_in_one_call(tmp_path: pathlib.Path) -> None:
    digests = [Digest.of(b"%d" % number) for number in range(3 * seen.PER_QUERY + 1)]
    with SeenDigests(str(tmp_path), in_memory_max=0) as known:
        assert known.add(digests[::2]) == set(digests[::2])
        assert known.add(digests) == set(digests[1::2])


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        return ""


def test_what_descends_from_an_earlier_version_is_estimated_by_its_delta(nodes: TwoNodes) -> None:
    old = noise(1, 3_000_000)
    # Scattered edits, so that nearly every chunk is new and nearly every byte is old.
    new = bytearray(old)
    for at in range(0, len(new), 20_000):
        new[at] ^= 1
    for store in (nodes.source, nodes.destination):
        upload(store, "a", old)
    upload(nodes.source, "a", bytes(new))
    plan = plan_of(nodes)
    assert plan.bytes_lacking > 2_000_000
    assert plan.estimate_bytes_saved is not None
    assert 0.8 * plan.bytes_lacking < plan.estimate_bytes_saved < plan.bytes_lacking


def test_a_sample_that_cannot_be_had_says_nothing(nodes: TwoNodes) -> None:
    put(nodes.source, "a", noise(1, 1000))
    assert isinstance(nodes.source, MemoryStore)
    nodes.source._chunks.clear()
    plan = plan_of(nodes)
    assert (plan.bytes_lacking, plan.estimate_bytes_saved) == (1000, 0)


class FullAnswers(Serving):
    """Says that its answers are full, from the first."""

    def offers(self, wanted: Sequence[Wanted], *, hold_s: int) -> list[Offer | ReplicatorError]:
        return [TooLarge("full") for _ in wanted]


def test_a_source_that_never_offers_anything_ends_a_dry_run(
    nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(nodes.source, "a", b"1")
    monkeypatch.setattr("replicator.testing.two_nodes.Serving", FullAnswers)
    with pytest.raises(BrokenPeer):
        plan_of(nodes)


@pytest.mark.parametrize("damage", [Corrupt, NotFound])
@pytest.mark.parametrize("method", ["manifest", "page"])
def test_damage_at_the_destination_is_not_laid_on_the_source(
    nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch, damage: type[ReplicatorError], method: str
) -> None:
    long = LongObject()
    commit(nodes.destination, long.new_version("a", number=long.stage(nodes.destination)))
    upload(nodes.source, "a", noise(1, 5000))

    def fail(*_: object) -> None:
        raise damage("damaged here")

    monkeypatch.setattr(nodes.destination, method, fail)
    result = nodes.survey_task(dry_run=True)
    assert [found.finding for found in result.found] == ["differs"]
    assert result.plan is not None
    assert (result.plan.objects_to_transfer, result.plan.bytes_lacking) == (1, 5000)


def test_an_object_that_fails_half_way_counts_for_nothing(
    nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = LongObject()
    commit(nodes.source, long.new_version("a", number=long.stage(nodes.source)))
    put(nodes.source, "b", long.payloads[0], noise(7, 100))
    page = nodes.source.page

    def first_page_only(manifest: Manifest, index: int) -> bytes:
        if index > 0:
            raise NotFound("the page was reclaimed")
        return page(manifest, index)

    monkeypatch.setattr(nodes.source, "page", first_page_only)
    plan = plan_of(nodes)
    assert (plan.objects_to_transfer, plan.bytes_logical) == (1, 101)
    # What the first page of the other lacked is lacked by this one.
    assert plan.bytes_lacking == 101
    assert plan.estimate_bytes_saved is not None
    assert plan.estimate_bytes_saved <= plan.bytes_lacking


@pytest.mark.parametrize("in_memory_max", [0, 1000])
def test_digests_of_a_round_are_taken_back_together(tmp_path: pathlib.Path, in_memory_max: int) -> None:
    first, second, third = (Digest.of(b"%d" % number) for number in range(3))
    with SeenDigests(str(tmp_path), in_memory_max=in_memory_max) as known:
        assert known.add([first]) == {first}
        known.begin_round()
        assert known.add([first, second]) == {second}
        known.take_back()
        known.begin_round()
        assert known.add([first, second, third]) == {second, third}
        assert known.add([second]) == set()
