"""Which transport is used with which source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from replicator.data_plane.replication import opening
from replicator.data_plane.replication.opening import EitherPeer, Memory, Open, Transport, peer_opener
from replicator.data_plane.replication.ports import Peer
from replicator.data_plane.replication.serving import Serving
from replicator.kernel.digest import Digest
from replicator.kernel.errors import (
    BrokenPeer,
    Cancelled,
    InvalidRequest,
    NotFound,
    PeerUnreachable,
    ReplicatorError,
    Unavailable,
)
from replicator.kernel.names import NodeName
from replicator.runtime.clock import SystemClock
from replicator.testing.memory_peer import MemoryPeer
from replicator.testing.objects import named
from replicator.testing.peer_source import NODE, SourceStore
from replicator.testing.peer_stream_contract import fetched, piece
from replicator.testing.rpc_source import rpc_source
from replicator.wire.sessions import TaskSource

FIRST, SECOND = opening.PREFERRED
SOURCE = TaskSource(node=NODE, base_url="http://127.0.0.1:9", rpc_url="http://127.0.0.1:10")


class Stage:
    """A source that answers by some transports, and counts who was asked how often."""

    def __init__(self) -> None:
        self.store = SourceStore()
        self.serving = Serving(self.store, node=NODE, clock=SystemClock())
        self.refusals: dict[Transport, ReplicatorError] = {}
        self.greeted: list[Transport] = []
        self.opened: list[Transport] = []
        self.memory = Memory()

    def open(self) -> EitherPeer:
        def opens(transport: Transport) -> Peer:
            self.opened.append(transport)
            return _Greeted(self, transport)

        by_transport: dict[Transport, Open] = {
            "http": lambda _: opens("http"),
            "grpc": lambda _: opens("grpc"),
        }
        return EitherPeer(SOURCE, by_transport, self.memory)


class _Greeted(MemoryPeer):
    def __init__(self, stage: Stage, transport: Transport) -> None:
        super().__init__(stage.serving)
        self._stage = stage
        self._transport = transport

    def hello(self) -> NodeName:
        self._stage.greeted.append(self._transport)
        if self._transport in self._stage.refusals:
            raise self._stage.refusals[self._transport]
        return super().hello()

    def missing(self, digests: object) -> list[bool]:
        if self._transport in self._stage.refusals:
            raise self._stage.refusals[self._transport]
        return super().missing(digests)  # type: ignore[arg-type]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_the_preferred_transport_is_used_where_the_source_speaks_it(stage: Stage) -> None:
    assert stage.open().missing([Digest.of(b"one")]) == [True]
    assert stage.opened == [FIRST]


@pytest.mark.parametrize("refusal", [NotFound("off"), BrokenPeer("what?"), PeerUnreachable("refused")])
def test_the_other_is_used_where_the_source_speaks_only_that(stage: Stage, refusal: ReplicatorError) -> None:
    stage.refusals[FIRST] = refusal
    assert stage.open().missing([Digest.of(b"one")]) == [True]
    assert stage.opened == [FIRST, SECOND]


def test_a_source_that_cannot_now_is_not_taken_for_one_that_does_not_speak(stage: Stage) -> None:
    stage.refusals[FIRST] = Unavailable("starting")
    with pytest.raises(Unavailable):
        stage.open().hello()
    assert stage.opened == [FIRST]


def test_what_a_source_answered_to_is_remembered_until_something_goes_wrong(stage: Stage) -> None:
    stage.refusals[FIRST] = NotFound("off")
    for _ in range(2):
        stage.open().missing([Digest.of(b"one")])
    assert stage.greeted == [FIRST, SECOND]
    stage.refusals = {SECOND: Unavailable("gone")}
    with pytest.raises(Unavailable):
        stage.open().missing([Digest.of(b"one")])
    assert stage.open().missing([Digest.of(b"one")]) == [True]
    assert stage.opened[-1] == FIRST


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (PeerUnreachable("a"), PeerUnreachable("b"), PeerUnreachable),
        (NotFound("a"), PeerUnreachable("b"), PeerUnreachable),
        (NotFound("a"), BrokenPeer("b"), BrokenPeer),
    ],
)
def test_a_source_that_answers_to_neither_says_so_of_both(
    stage: Stage, first: ReplicatorError, second: ReplicatorError, expected: type[ReplicatorError]
) -> None:
    stage.refusals = {FIRST: first, SECOND: second}
    with pytest.raises(expected) as caught:
        stage.open().hello()
    assert type(caught.value) is expected
    assert {"a", "b"} <= set(caught.value.message.replace(";", " ").split())


def test_a_closed_one_opens_nothing(stage: Stage) -> None:
    peer = stage.open()
    peer.close()
    with pytest.raises(Cancelled):
        peer.hello()
    assert stage.opened == []


def test_traffic_counts_both_tries(stage: Stage) -> None:
    stage.refusals[FIRST] = NotFound("off")
    stage.store.add(named(b"one"))
    peer = stage.open()
    assert peer.traffic == (0, 0)
    assert fetched(peer, piece(b"one"))[0][1] == b"one"
    assert peer.traffic.received >= 3


def test_only_so_many_sources_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "REMEMBERED_MAX", 2)
    memory = Memory()
    sources = [SOURCE.model_copy(update={"node": f"n{number}"}) for number in range(3)]
    for source in sources:
        memory.learn(source, "grpc")
    assert [memory.known(source) for source in sources] == [None, "grpc", "grpc"]


@pytest.fixture
def speaking_grpc() -> Iterator[TaskSource]:
    with ExitStack() as stack:
        serving = Serving(SourceStore(), node=NODE, clock=SystemClock())
        source = stack.enter_context(rpc_source(serving))
        yield TaskSource(node=NODE, base_url="http://127.0.0.1:9", rpc_url=source.url)


@pytest.mark.parametrize("transport", ["auto", "grpc"])
def test_a_source_that_speaks_grpc_alone_is_reached(speaking_grpc: TaskSource, transport: Transport) -> None:
    peer = peer_opener(transport, timeout_s=30.0, clock=SystemClock())(speaking_grpc)
    try:
        assert peer.hello() == NODE
    finally:
        peer.close()


def test_a_source_without_grpc_is_never_asked_for_it() -> None:
    source = TaskSource(node=NODE, base_url="http://127.0.0.1:9")
    opened = peer_opener("auto", timeout_s=1.0, clock=SystemClock())(source)
    with pytest.raises(PeerUnreachable):
        opened.hello()
    with pytest.raises(InvalidRequest, match="--serve both"):
        peer_opener("grpc", timeout_s=1.0, clock=SystemClock())(source)
