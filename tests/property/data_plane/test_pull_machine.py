"""Whatever sources do, in whatever order: no chunk is asked for twice without need, and every owner is settled once."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from replicator.data_plane.replication.machine import Ask, Leave, Machine
from replicator.data_plane.replication.ports import Piece
from replicator.data_plane.replication.runs import Part
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, PeerUnreachable, Unavailable
from replicator.kernel.manifest import ChunkRef
from replicator.kernel.names import NodeName

SOURCES = [NodeName(name) for name in ("first", "second", "third")]
CHUNKS = [ChunkRef(Digest.of(bytes([number])), 1 + 40_000 * number) for number in range(24)]
OLD = [ChunkRef(Digest.of(b"old"), 1000)]
pick = st.integers(0, 1000)


class Pulling(RuleBasedStateMachine):
    """Streams, sources and owners at random, held against a plain account of what happened."""

    @initialize(in_flight=st.sampled_from([1, 300_000, 1 << 40]))
    def begin(self, in_flight: int) -> None:
        self.machine = Machine(in_flight_bytes_max=in_flight, worth_bytes=500_000, silence_s=2.0)
        self.machine.join(SOURCES[0], streams=2)
        for source in SOURCES[1:]:
            self.machine.enlist(source)
        self.now_s = 0.0
        self.owned: dict[int, set[ChunkRef]] = {}
        self.parts: dict[int, Part] = {}
        self.settled: dict[int, Exception | None] = {}
        self.open: dict[int, tuple[NodeName, Ask, set[ChunkRef]]] = {}
        self.arrived: Counter[ChunkRef] = Counter()
        self.refused: dict[NodeName, set[ChunkRef]] = {source: set() for source in SOURCES}
        self.called: list[NodeName] = []
        self.left: set[NodeName] = set()
        self.here: set[ChunkRef] = set()

    @rule()
    def look(self) -> None:
        """What came by now is found here."""
        self.machine.look()
        self.here = set(self.arrived)

    @rule(which=st.sets(st.sampled_from(CHUNKS), max_size=8), as_delta=st.booleans())
    def want(self, which: set[ChunkRef], as_delta: bool) -> None:
        owner = len(self.owned) + 1
        refs = sorted(which)
        # What was here at the last look is not wanted; what came since may be.
        self.owned[owner] = which - self.here
        refs = [ref for ref in refs if ref not in self.here]
        piece = Piece(refs, OLD if as_delta else ())
        self.parts[owner] = self.machine.add(owner, [piece] if refs else [])

    @rule(number=pick, seconds=st.floats(0, 3))
    def ask(self, number: int, seconds: float) -> None:
        self.now_s += seconds
        source = SOURCES[number % len(SOURCES)]
        if source != SOURCES[0] and source not in self.left and source not in self.called:
            return
        if source in self.called:
            return
        decision = self.machine.next(source, self.now_s)
        if isinstance(decision, Leave):
            self.left.add(source)
        if not isinstance(decision, Ask):
            return
        refs = [ref for piece in decision.pieces for ref in piece.chunks]
        assert len(set(refs)) == len(refs)
        assert sum(ref.length for ref in refs) == decision.length
        assert all(ref.length > 0 for ref in refs)
        for ref in refs:
            assert not self.arrived[ref], "a chunk that came is not asked for again"
            assert all(ref not in left for _, _, left in self.open.values()), "nor of two at once"
        self.open[decision.number] = (source, decision, set(refs))

    @precondition(lambda self: self.open)
    @rule(number=pick, count=st.integers(1, 5), saved=st.integers(0, 10_000))
    def deliver(self, number: int, count: int, saved: int) -> None:
        key = self._any_open(number)
        _, ask, left = self.open[key]
        came = [ref for piece in ask.pieces for ref in piece.chunks if ref in left][:count]
        self.arrived.update(came)
        left.difference_update(came)
        self.machine.kept(key, [ref.digest for ref in came], saved)

    @precondition(lambda self: self.open)
    @rule(number=pick, how=st.sampled_from(["lacks", "damaged", "resend"]))
    def refuse(self, number: int, how: str) -> None:
        key = self._any_open(number)
        source, _, left = self.open[key]
        if not left:
            return
        refs = [sorted(left)[number % len(left)]]
        left.difference_update(refs)
        if how != "resend":
            self.refused[source].update(refs)
        getattr(self.machine, how)(key, refs)

    @precondition(lambda self: self.open)
    @rule(number=pick)
    def end(self, number: int) -> None:
        key = self._any_open(number)
        del self.open[key]
        self.machine.ended(key, self.now_s)

    @precondition(lambda self: self.open)
    @rule(
        number=pick, kind=st.sampled_from([Unavailable, PeerUnreachable, BrokenPeer]), jitter=st.floats(0, 1)
    )
    def fail(self, number: int, kind: type[Unavailable | BrokenPeer], jitter: float) -> None:
        key = self._any_open(number)
        del self.open[key]
        self.machine.failed(key, kind("x"), now_s=self.now_s, jitter=jitter)

    @rule()
    def call_in(self) -> None:
        self.called += self.machine.called_in()

    @precondition(lambda self: self.called)
    @rule(lacks=st.sets(st.sampled_from(CHUNKS), max_size=4), joins=st.booleans())
    def answer(self, lacks: set[ChunkRef], joins: bool) -> None:
        source = self.called.pop()
        self.left.add(source)
        if joins:
            self.refused[source].update(lacks)
            self.machine.join(source, streams=1, lacks=[ref.digest for ref in lacks])
        else:
            self.machine.stay_out(source)

    def _any_open(self, number: int) -> int:
        return sorted(self.open)[number % len(self.open)]

    @invariant()
    def what_is_settled_is_settled_once_and_rightly(self) -> None:
        for owner, error in self.machine.settled():
            assert owner not in self.settled
            self.settled[owner] = error
            if error is None:
                assert all(self.arrived[ref] for ref in self.owned[owner])
        for owner, wanted in self.owned.items():
            if all(self.arrived[ref] for ref in wanted):
                assert owner in self.settled

    @invariant()
    def the_accounts_agree(self) -> None:
        assert all(count == 1 for count in self.arrived.values())
        travelled = sum(part.transferred for part in self.parts.values())
        assert travelled == sum(ref.length for ref in self.arrived)
        for owner, part in self.parts.items():
            came = sum(ref.length for ref in self.owned[owner] if self.arrived[ref])
            # What a failed owner had wanted is forgotten, and may come for somebody else.
            assert part.arrived == came or (self.settled.get(owner) and part.arrived < came)
            assert 0 <= part.saved <= part.transferred <= part.arrived
        under_way = sum(ref.length for *_, left in self.open.values() for ref in left)
        assert self.machine.left_bytes - self.machine.queued_bytes == under_way

    def teardown(self) -> None:
        """However it stands: if everybody answers from now on, every owner is settled."""
        if not hasattr(self, "machine"):
            return
        for key in list(self.open):
            del self.open[key]
            self.machine.ended(key, self.now_s)
        for _ in range(200):
            for source in self.called + self.machine.called_in():
                self.machine.join(source, streams=1)
            self.called = []
            asks = [self.machine.next(source, self.now_s) for source in SOURCES]
            if not any(isinstance(each, Ask) for each in asks) and self.machine.left_bytes == 0:
                break
            self.now_s += 5.0
            for each in asks:
                if isinstance(each, Ask):
                    came = [ref for piece in each.pieces for ref in piece.chunks]
                    self.arrived.update(came)
                    self.machine.kept(each.number, [ref.digest for ref in came])
                    self.machine.ended(each.number, self.now_s)
        self.what_is_settled_is_settled_once_and_rightly()
        self.the_accounts_agree()
        assert self.settled.keys() == self.owned.keys()


TestPulling = Pulling.TestCase
TestPulling.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
