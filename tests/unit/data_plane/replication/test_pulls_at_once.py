"""Pulls of one destination that want the same chunks at the same time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from replicator.data_plane.replication.engine import PullBounds
from replicator.data_plane.replication.ports import Delivery, Piece
from replicator.data_plane.replication.pull import Pull
from replicator.data_plane.replication.serving import Serving
from replicator.kernel.errors import Unavailable
from replicator.kernel.manifest import PAGE_ENTRIES
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_peer import MemoryPeer
from replicator.testing.memory_store import MemoryStore
from replicator.testing.objects import TINY_CHUNKING, commit, new_version, noise, read_all, upload
from replicator.testing.pulling import SOURCE, Pulled, PullingNode
from replicator.testing.waiting import DEADLINE_S, wait_until
from replicator.wire.sessions import ObjectItem


def memory_store(name: str = "source") -> MemoryStore:
    return MemoryStore(clock=FrozenClock(), node_name=name, chunking=TINY_CHUNKING)


class Gate:
    """Holds up the first fetch until it is opened; `breaks` is what it then does instead of answering."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self.breaks = False

    def pass_first(self) -> None:
        if self.reached.is_set():
            return
        self.reached.set()
        assert self.opened.wait(DEADLINE_S)
        if self.breaks:
            raise Unavailable("the first fetch broke")


class GatedPeer(MemoryPeer):
    def __init__(self, serving: Serving, gate: Gate) -> None:
        super().__init__(serving)
        self._gate = gate

    def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
        """See `Peer.fetch`."""
        deliveries = super().fetch(pieces, compress=compress)
        self._gate.pass_first()
        yield from deliveries


class Two:
    """A pull that is held up while it fetches `first`, and one of `second` that began meanwhile."""

    def __init__(self, source: MemoryStore, pool: ThreadPoolExecutor, *, patience_s: float = 600.0) -> None:
        self.gate = Gate()
        self.here = memory_store("destination")
        self.node = PullingNode(
            self.here,
            {SOURCE: source},
            make_peer=lambda serving, _: GatedPeer(serving, self.gate),
            bounds=PullBounds(patience_s=patience_s),
        )
        self.first, self.first_done = self._begin(pool, "first")
        assert self.gate.reached.wait(DEADLINE_S)
        self.second, self.second_done = self._begin(pool, "second")

    def _begin(self, pool: ThreadPoolExecutor, key: str) -> tuple[Pull, Future[Pulled]]:
        work = self.node.work([ObjectItem(row=1, object_id=key)])
        return work, pool.submit(self.node.run, work)

    def content(self, key: str) -> bytes:
        head = self.here.head(DEFAULT_BUCKET, ObjectId(key))
        assert head is not None
        return read_all(self.here, self.here.manifest(head.manifest))

    def wait_for_own(self, n_bytes: int) -> None:
        """Until the second has brought what only it wants."""
        wait_until(lambda: self.second.transfer.bytes_transferred == n_bytes, "the second fetched its own")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def sharing_source() -> MemoryStore:
    source = memory_store()
    commit(source, new_version("first", b"shared", b"one"))
    commit(source, new_version("second", b"own", b"shared"))
    return source


def test_a_chunk_that_two_pulls_want_travels_once(pool: ThreadPoolExecutor) -> None:
    two = Two(sharing_source(), pool)
    two.wait_for_own(3)
    assert not two.second_done.done()
    two.gate.opened.set()
    first, second = two.first_done.result(DEADLINE_S), two.second_done.result(DEADLINE_S)
    assert (first.only.outcome, second.only.outcome) == ("verified", "verified")
    assert (two.content("first"), two.content("second")) == (b"sharedone", b"ownshared")
    assert len(two.node.fetched()) == len(set(two.node.fetched())) == 3
    assert (first.only.bytes_transferred, first.only.bytes_deduplicated) == (9, 0)
    assert (second.only.bytes_transferred, second.only.bytes_deduplicated) == (3, 6)


def test_objects_with_pages_that_two_pulls_want_travel_once(pool: ThreadPoolExecutor) -> None:
    source = memory_store()
    shared = noise(1, (2 * PAGE_ENTRIES + 50) * 1024)
    upload(source, "first", noise(2, 5000) + shared)
    upload(source, "second", shared + noise(3, 5000))
    two = Two(source, pool)
    two.gate.opened.set()
    first, second = two.first_done.result(DEADLINE_S), two.second_done.result(DEADLINE_S)
    assert (first.only.outcome, second.only.outcome) == ("verified", "verified")
    assert two.content("second") == shared + noise(3, 5000)
    assert len(two.node.fetched()) == len(set(two.node.fetched()))
    for each in (first.only, second.only):
        assert each.bytes_transferred + each.bytes_deduplicated == each.size


@pytest.mark.parametrize("how", ["stopped", "broken"])
def test_what_a_pull_that_ended_did_not_bring_another_one_does(pool: ThreadPoolExecutor, how: str) -> None:
    two = Two(sharing_source(), pool)
    two.wait_for_own(3)
    if how == "stopped":
        two.first.stop()
    else:
        two.gate.breaks = True
    two.gate.opened.set()
    assert two.second_done.result(DEADLINE_S).only.outcome == "verified"
    assert two.content("second") == b"ownshared"
    two.first_done.result(DEADLINE_S)


def test_a_pull_that_brings_nothing_is_not_waited_for_for_ever(pool: ThreadPoolExecutor) -> None:
    two = Two(sharing_source(), pool, patience_s=0.05)
    assert two.second_done.result(DEADLINE_S).only.outcome == "verified"
    assert two.content("second") == b"ownshared"
    assert not two.first_done.done()
    two.gate.opened.set()
    assert two.first_done.result(DEADLINE_S).only.outcome == "verified"


def test_a_pull_that_waits_for_another_can_be_stopped(pool: ThreadPoolExecutor) -> None:
    two = Two(sharing_source(), pool)
    two.wait_for_own(3)
    two.second.stop()
    done = two.second_done.result(DEADLINE_S).done
    assert done.error is not None
    assert done.error.code == "cancelled"
    assert not two.first_done.done()
    two.gate.opened.set()
    assert two.first_done.result(DEADLINE_S).only.outcome == "verified"
