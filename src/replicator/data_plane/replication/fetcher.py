"""Fetching chunks by several streams from several sources, into the store.

The machine decides who asks for what; a stream is a thread with a connection of its own that carries it out:
read a block, wait for its bandwidth, unpack and verify, add to the store. The connection reads the next block
meanwhile. What was added is made durable every 64 MiB, so a destination that dies has that much to ask again
at most.

A pull begins with its source alone. Other nodes that may hold the same bytes are called in when much is to be
fetched, or when the source has not, or has damaged, what is wanted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Self

from replicator.data_plane.ports import Hold
from replicator.data_plane.replication.engine import MEBIBYTE, Engine
from replicator.data_plane.replication.in_flight import Claimant
from replicator.data_plane.replication.machine import Ask, Leave, Machine, Settled, Wait
from replicator.data_plane.replication.ports import Delivery, Peer, Piece
from replicator.data_plane.replication.runs import Part
from replicator.data_plane.replication.unpack import Unpacker
from replicator.data_plane.replication.worth import Worth
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Cancelled, ReplicatorError
from replicator.kernel.names import NodeName
from replicator.runtime.logging import get_logger
from replicator.wire.replication import MISSING_DIGESTS_MAX
from replicator.wire.sessions import CorruptSource, TaskSource

log = get_logger()
CHECKPOINT_BYTES = 64 * MEBIBYTE
WORTH_BYTES = 8 * MEBIBYTE
_STREAM_BYTES = 4 * MEBIBYTE


class Fetcher:
    """The streams of one pull; a context manager. `add`, `settled` and the context belong to one thread.

    Args:
        hold: keeps what arrives from being reclaimed.
        job: whose bandwidth it uses.
        others: nodes that may hold the same bytes as `source`.
        learns: leaves references out where they prove fruitless: for a pull of one object.
        cancelled: set it and call `stop` to end every stream.
    """

    def __init__(
        self,
        engine: Engine,
        hold: Hold,
        *,
        job: int,
        source: TaskSource,
        others: Sequence[TaskSource],
        cancelled: threading.Event,
        learns: bool = False,
    ) -> None:
        self._engine = engine
        self._bounds = engine.bounds
        self._hold = hold
        self._job = job
        self._cancelled = cancelled
        self._unpacker = Unpacker(engine.store)
        self._worth = Worth() if learns else None
        self._changed = threading.Condition()
        self._machine = Machine(
            in_flight_bytes_max=engine.bounds.bytes_in_flight_max,
            worth_bytes=WORTH_BYTES,
            silence_s=engine.bounds.silence_s,
        )
        self._source = source
        self._others = {NodeName(other.node): other for other in others if other.node != source.node}
        self._streams: dict[NodeName, int] = {}
        self._threads: list[threading.Thread] = []
        self._peers: list[Peer] = []
        self._sample: list[Digest] = []
        self._settled: list[Settled] = []
        self._unsynced_bytes = 0
        self._closed = False
        self._is_woken = False
        self.claimant = Claimant(
            source=NodeName(source.node), job=job, is_limited=engine.pacer.is_limited, wake=self._wake
        )
        for other in self._others:
            self._machine.enlist(other)

    def __enter__(self) -> Self:
        with self._changed:
            self._join(NodeName(self._source.node))
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._machine.abort(Cancelled("the pull has ended"))
            self._changed.notify_all()
        self.stop()
        self._engine.in_flight.leave(self.claimant)
        for thread in self._threads:
            thread.join()

    @property
    def left_bytes(self) -> int:
        """Bytes that have not arrived and are not given up."""
        with self._changed:
            return self._machine.left_bytes

    @property
    def wire_bytes(self) -> int:
        """Bytes received from all sources, everything counted. From any thread."""
        return sum(peer.traffic.received for peer in list(self._peers))

    @property
    def corrupt(self) -> list[CorruptSource]:
        """The chunks that a source said it has damaged."""
        with self._changed:
            found = list(self._machine.corrupt)
        return [CorruptSource(node=node, digest=str(digest)) for node, digest in found]

    def look(self) -> None:
        """See `Machine.look`."""
        with self._changed:
            self._machine.look()

    def add(self, owner: int, pieces: Sequence[Piece]) -> Part:
        """Fetch `pieces` for `owner`, who is new; raises as `Machine.add`. The part grows as they arrive."""
        with self._changed:
            part = self._machine.add(owner, pieces)
            room = MISSING_DIGESTS_MAX - len(self._sample)
            if room > 0 and self._others:
                self._sample += [ref.digest for piece in pieces for ref in piece.chunks][:room]
            self._after_event()
            self._staff()
            self._changed.notify_all()
        return part

    def settled(self, timeout_s: float) -> list[Settled]:
        """Owners that were settled since the last call; waits for one, at most `timeout_s`.

        It may be none where another pull has released what this one was refused.

        Raises:
            Cancelled: the pull was stopped.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._settled or self._is_woken or self._cancelled.is_set(), timeout_s
            )
            self._is_woken = False
            if self._cancelled.is_set():
                raise Cancelled("the pull was stopped")
            settled, self._settled = self._settled, []
            return settled

    def stop(self) -> None:
        """Break off what is under way. From any thread; again does no harm."""
        with self._changed:
            peers = list(self._peers)
            self._changed.notify_all()
        for peer in peers:
            peer.close()

    def _wake(self) -> None:
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()

    def _join(self, source: NodeName, lacks: Sequence[Digest] = ()) -> None:
        """Let a source deliver; under the lock."""
        self._machine.join(
            source,
            streams=self._bounds.streams_per_source,
            rate_bytes_per_s=self._engine.links.of(source).rate_bytes_per_s,
            lacks=lacks,
        )
        self._streams[source] = 0

    def _staff(self) -> None:
        """Start the streams that what is left is worth; under the lock."""
        if self._closed or self._cancelled.is_set():
            return
        wanted = min(self._bounds.streams_per_source, -(-self._machine.left_bytes // _STREAM_BYTES))
        for source in self._streams:
            while self._streams[source] < wanted and self._may_staff(source):
                self._streams[source] += 1
                self._start(self._stream, self._task_source(source))

    def _may_staff(self, source: NodeName) -> bool:
        """Whether a source gets one more stream: one always, for what only it has is left to it."""
        if not self._machine.is_in(source):
            return False
        return not self._streams[source] or sum(self._streams.values()) < self._bounds.streams_max

    def _task_source(self, source: NodeName) -> TaskSource:
        return self._others.get(source, self._source)

    def _start(self, target: Callable[[TaskSource], None], source: TaskSource) -> None:
        if self._closed:
            return
        thread = threading.Thread(
            target=self._watched, args=(target, source), name="pull-stream", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _watched(self, target: Callable[[TaskSource], None], source: TaskSource) -> None:
        try:
            target(source)
        except Exception as error:
            log.error("pull.stream_broke", source=source.node, exc_info=error)
            self._abort(ReplicatorError(f"an unexpected error at the destination: {error!r}"))

    def _after_event(self) -> None:
        """What an event of the machine leads to; under the lock."""
        settled = self._machine.settled()
        called = self._machine.called_in()
        self._settled += settled
        for source in called:
            self._start(self._call_in, self._others[source])
        if settled or called:
            self._changed.notify_all()

    def _open(self, source: TaskSource) -> Peer:
        peer = self._engine.open_peer(source)
        with self._changed:
            self._peers.append(peer)
            is_over = self._closed or self._cancelled.is_set()
        if is_over:
            peer.close()
        return peer

    def _call_in(self, source: TaskSource) -> None:
        """Ask another node whether it has what is wanted; if so it joins."""
        node = NodeName(source.node)
        link = self._engine.links.of(node)
        peer = self._open(source)
        lacks: list[Digest] | None = None
        try:
            link.require_closed()
            lacks = self._greet(peer, node)
        except ReplicatorError as error:
            log.info("source.not_called_in", source=node, reason=error.message)
        finally:
            peer.close()
        with self._changed:
            if lacks is None:
                self._machine.stay_out(node)
            else:
                self._join(node, lacks)
                self._staff()
            self._after_event()
            self._changed.notify_all()

    def _greet(self, peer: Peer, node: NodeName) -> list[Digest] | None:
        """What `node` lacks of a sample; None where it lacks all of it, or is another node. Tells the link."""
        link = self._engine.links.of(node)
        with self._changed:
            sample = list(self._sample)
        try:
            answers = peer.missing(sample) if peer.hello() == node else [True] * len(sample)
        except ReplicatorError as error:
            link.failed(Cancelled("the pull was stopped") if self._cancelled.is_set() else error)
            raise
        link.worked(0, 0)
        lacks = [digest for digest, missing in zip(sample, answers, strict=True) if missing]
        return lacks if len(lacks) < len(sample) else None

    def _stream(self, source: TaskSource) -> None:
        peer = self._open(source)
        try:
            while (ask := self._next(NodeName(source.node))) is not None:
                self._carry_out(NodeName(source.node), peer, ask)
        finally:
            peer.close()
            with self._changed:
                self._streams[NodeName(source.node)] -= 1
                self._staff()

    def _next(self, source: NodeName) -> Ask | None:
        clock = self._engine.clock
        with self._changed:
            while not self._closed and not self._cancelled.is_set():
                match self._machine.next(source, clock.monotonic_s()):
                    case Ask() as ask:
                        return ask
                    case Leave():
                        return None
                    case Wait(until_s):
                        self._changed.wait(
                            None if until_s is None else max(0.0, until_s - clock.monotonic_s())
                        )
        return None

    def _carry_out(self, source: NodeName, peer: Peer, ask: Ask) -> None:
        clock, link = self._engine.clock, self._engine.links.of(source)
        failure: ReplicatorError | None = None
        try:
            link.require_closed()
        except ReplicatorError as error:
            # The link's own refusal says nothing new about it.
            failure = error
        else:
            failure = self._ask(source, peer, ask)
        if self._cancelled.is_set():
            return
        now_s = clock.monotonic_s()
        with self._changed:
            if failure is None:
                self._machine.ended(ask.number, now_s)
            else:
                jitter = self._engine.rng.random()
                self._machine.failed(ask.number, failure, now_s=now_s, jitter=jitter)
            self._after_event()
            self._changed.notify_all()

    def _ask(self, source: NodeName, peer: Peer, ask: Ask) -> ReplicatorError | None:
        """Carry out a request and tell the link how that went; the error with which it broke off."""
        link = self._engine.links.of(source)
        try:
            self._fetch(source, peer, ask)
        except ReplicatorError as error:
            link.failed(Cancelled("the pull was stopped") if self._cancelled.is_set() else error)
            return error
        return None

    def _fetch(self, source: NodeName, peer: Peer, ask: Ask) -> None:
        """Fetch what `ask` says and keep it."""
        clock, link = self._engine.clock, self._engine.links.of(source)
        with self._changed:
            pieces = ask.pieces if self._worth is None else self._worth.pieces(ask.pieces)
        compress = link.may_compress()
        began_s = clock.monotonic_s()
        wire_bytes = stored_bytes = 0
        for delivery in peer.fetch(pieces, compress=compress):
            self._engine.pacer.take(
                delivery.wire_bytes, source=source, job=self._job, cancelled=self._cancelled
            )
            stored_bytes += self._keep(ask, pieces, delivery)
            wire_bytes += delivery.wire_bytes
        seconds = clock.monotonic_s() - began_s
        link.worked(wire_bytes, seconds)
        if not any(piece.references for piece in pieces):
            link.compared(
                compressed=compress, stored_bytes=stored_bytes, wire_bytes=wire_bytes, seconds=seconds
            )

    def _keep(self, ask: Ask, pieces: Sequence[Piece], delivery: Delivery) -> int:
        """Verify what a delivery brought, add it to the store, and tell the machine; returns its bytes as stored."""
        unpacked = self._unpacker.unpack(pieces, delivery)
        n_bytes = sum(len(memoryview(payload)) for _, payload in unpacked.chunks)
        if unpacked.chunks:
            self._guarded(lambda: self._engine.store.add(unpacked.chunks, self._hold))
            self._engine.in_flight.release(self.claimant, [digest for digest, _ in unpacked.chunks])
        with self._changed:
            if self._worth is not None:
                self._worth.note(pieces, delivery)
            self._machine.kept(ask.number, [digest for digest, _ in unpacked.chunks], unpacked.saved_bytes)
            if unpacked.missing or unpacked.corrupt or unpacked.resend:
                self._machine.lacks(ask.number, unpacked.missing)
                self._machine.damaged(ask.number, unpacked.corrupt)
                self._machine.resend(ask.number, unpacked.resend)
                self._changed.notify_all()
            self._after_event()
            self._unsynced_bytes += n_bytes
            is_due = self._unsynced_bytes >= CHECKPOINT_BYTES
            if is_due:
                self._unsynced_bytes = 0
        if is_due:
            self._guarded(self._engine.store.checkpoint)
        return n_bytes

    def _guarded(self, change: Callable[[], object]) -> None:
        """Do something to the store. Its error is not the source's: it ends the pull."""
        try:
            change()
        except ReplicatorError as error:
            self._abort(error)
            raise Cancelled("the store of the destination refused what arrived") from error

    def _abort(self, error: ReplicatorError) -> None:
        with self._changed:
            self._machine.abort(error)
            self._after_event()
            self._changed.notify_all()
