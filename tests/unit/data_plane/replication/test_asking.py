"""A question to the source is asked again where that may help, and the attempt ends soon where it does not."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from replicator.data_plane.replication.asking import Asking
from replicator.data_plane.replication.engine import Engine, PullBounds
from replicator.data_plane.replication.links import Links
from replicator.data_plane.replication.ports import Peer
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.serving import Serving
from replicator.kernel.errors import Cancelled, PeerUnreachable, ReplicatorError
from replicator.kernel.names import NodeName
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_peer import MemoryPeer
from replicator.testing.memory_store import MemoryStore

SOURCE = NodeName("source")
SILENCE_S = 2.0


class Attempt:
    """Asks a source that fails as many times as it is told to, each time after `seconds`."""

    def __init__(self) -> None:
        self.clock = FrozenClock()
        self.cancelled = threading.Event()
        self.tries = 0
        store = MemoryStore(clock=self.clock, node_name=SOURCE)
        peer = MemoryPeer(Serving(store, node=SOURCE, clock=self.clock))
        engine = Engine(
            store=store,
            open_peer=lambda _: peer,
            pacer=Pacer(self.clock),
            links=Links(self.clock, random.Random(1)),
            clock=self.clock,
            rng=random.Random(1),
            bounds=PullBounds(silence_s=SILENCE_S),
        )
        self.link = engine.links.of(SOURCE)
        self.asking = Asking(engine, peer, source=SOURCE, cancelled=self.cancelled)

    def failing(self, *seconds: float) -> Callable[[Peer], NodeName]:
        def question(peer: Peer) -> NodeName:
            self.tries += 1
            if self.tries <= len(seconds):
                self.clock.now_ms += round(seconds[self.tries - 1] * 1000)
                raise PeerUnreachable("no answer")
            return peer.hello()

        return question


def test_a_source_that_refuses_at_once_is_asked_again() -> None:
    attempt = Attempt()
    assert attempt.asking.ask(attempt.failing(0.0, 0.0)) == SOURCE
    assert attempt.tries == 3


@pytest.mark.parametrize(("seconds", "tries"), [((2.0,), 1), ((1.5, 1.5), 2), ((0.0, 2.0), 2)])
def test_a_source_that_is_silent_is_waited_for_once(seconds: tuple[float, ...], tries: int) -> None:
    attempt = Attempt()
    with pytest.raises(PeerUnreachable):
        attempt.asking.ask(attempt.failing(*seconds))
    assert attempt.tries == tries


def test_a_question_that_is_stopped_lets_others_try_the_source() -> None:
    attempt = Attempt()
    for _ in range(5):
        attempt.link.failed(PeerUnreachable("no answer"))
    attempt.clock.now_ms += 3_600_000

    def stopped(_: Peer) -> NodeName:
        attempt.cancelled.set()
        raise ReplicatorError("the connection was closed")

    with pytest.raises(Cancelled):
        attempt.asking.ask(stopped)
    assert attempt.link.state == "half-open"
    attempt.link.require_closed()
