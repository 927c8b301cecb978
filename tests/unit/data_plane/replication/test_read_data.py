"""A verification that reads the data finds what the listings cannot show."""

from __future__ import annotations

import threading

import pytest

from replicator.data_plane.replication.ports import Wanted
from replicator.data_plane.replication.proving import prove
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Cancelled, Corrupt, NotFound
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.testing.memory_store import MemoryStore
from replicator.testing.objects import LongObject, commit, noise
from replicator.testing.two_nodes import TwoNodes, put


@pytest.fixture
def nodes() -> TwoNodes:
    return TwoNodes()


def damage(store: object, payload: bytes, instead: bytes | None) -> None:
    assert isinstance(store, MemoryStore)
    if instead is None:
        del store._chunks[Digest.of(payload)]
    else:
        store._chunks[Digest.of(payload)] = instead


def test_damage_is_found_where_it_is(nodes: TwoNodes) -> None:
    for number in range(6):
        for store in (nodes.source, nodes.destination):
            put(store, f"{number}", noise(number, 100), noise(100 + number, 50))
    damage(nodes.source, noise(1, 100), bytes(100))
    damage(nodes.destination, noise(102, 50), bytes(50))
    damage(nodes.source, noise(3, 100), None)
    damage(nodes.destination, noise(3, 100), None)
    assert nodes.survey(roots=True).found == []
    result = nodes.survey(read_data=True, roots=True)
    assert {(found.object_id, found.finding) for found in result.found} == {
        ("1", "corrupt-at-source"),
        ("2", "corrupt-at-destination"),
        ("3", "corrupt-at-source"),
        ("3", "corrupt-at-destination"),
    }
    assert (result.compared, result.unchanged) == (6, 3)
    assert result.source_root == result.destination_root
    assert sum(peer.proven_bytes for peer in nodes.peers) == 6 * 150


@pytest.mark.parametrize("found_max", [1, 2, 5])
def test_every_finding_comes_once_however_small_the_results(nodes: TwoNodes, found_max: int) -> None:
    for number in range(7):
        put(nodes.source, f"{number}", noise(number, 10), number=1)
        put(nodes.destination, f"{number}", noise(50 + number, 10))
        damage(nodes.source, noise(number, 10), None)
    whole = nodes.survey(read_data=True, found_max=found_max)
    assert sorted((found.object_id, found.finding) for found in whole.found) == sorted(
        (f"{number}", finding) for number in range(7) for finding in ("differs", "corrupt-at-source")
    )


def test_a_long_object_is_proved_block_by_block(nodes: TwoNodes) -> None:
    long = LongObject()
    commit(nodes.source, long.new_version("long", number=long.stage(nodes.source)))
    wanted = Wanted(DEFAULT_BUCKET, ObjectId("long"))
    assert prove(nodes.source, wanted, stopped=threading.Event()) == long.manifest.digest
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Cancelled):
        prove(nodes.source, wanted, stopped=stopped)
    damage(nodes.source, long.payloads[1], b"xx")
    with pytest.raises(Corrupt):
        prove(nodes.source, wanted, stopped=threading.Event())
    assert nodes.source.holds == []  # type: ignore[attr-defined]


def test_what_is_not_there_is_not_corrupt(nodes: TwoNodes) -> None:
    with pytest.raises(NotFound):
        prove(nodes.source, Wanted(DEFAULT_BUCKET, ObjectId("none")), stopped=threading.Event())
