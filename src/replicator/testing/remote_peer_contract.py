"""What a peer with a network between promises beyond `peer_contract`: silence, lies and ends are errors in time.

Subclass `RemotePeerContract` and give it the fixtures `listen` and `open_peer`.
"""
# ruff: noqa: D102  (the names of the tests are the promises)

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.data_plane.ports import Versioning
from replicator.data_plane.replication.messages.replies import Sent
from replicator.data_plane.replication.messages.requests import FetchAsked
from replicator.data_plane.replication.ports import Entry, Listing, Peer, Stretch
from replicator.data_plane.replication.serving import Serving
from replicator.kernel.digest import Digest
from replicator.kernel.errors import (
    BrokenPeer,
    Cancelled,
    Corrupt,
    Fenced,
    InvalidRequest,
    NotFound,
    PeerUnreachable,
    QuotaExceeded,
    ReplicatorError,
    StoreFailed,
    Unavailable,
)
from replicator.kernel.merkle import encode_entry, stretch_digest
from replicator.kernel.names import DEFAULT_BUCKET, NodeName, ObjectId
from replicator.kernel.version import VersionId
from replicator.testing.counting_proxy import CountingProxy
from replicator.testing.objects import named, noise
from replicator.testing.peer_source import NODE, SourceStore
from replicator.testing.peer_stream_contract import fetched, piece
from replicator.testing.processes import HOST, free_port
from replicator.testing.slow_link import slow_link
from replicator.testing.twisted_source import TwistedServing, frame
from replicator.testing.waiting import DEADLINE_S, wait_until
from replicator.wire.frames import Codec, FrameStatus

Listen = Callable[[Serving], int]
OpenPort = Callable[[int], Peer]
TIMEOUT_S = 1.0
MEBIBYTE = 1024 * 1024
ONE = [Digest.of(b"one")]


def endless() -> Iterator[Sent]:
    """One chunk, for ever."""
    return itertools.repeat(frame(noise(1, 64 * 1024)))


# What a source may send that was asked for the chunks b"one" and b"three".
LIES: dict[str, Callable[[], Iterator[Sent]]] = {
    "another chunk": lambda: iter([frame(b"two")]),
    "the chunks in another order": lambda: iter([frame(b"three"), frame(b"one")]),
    "a chunk twice": lambda: iter([frame(b"one"), frame(b"one")]),
    "a chunk too many": lambda: iter([frame(b"one"), frame(b"three"), frame(b"one")]),
    "a chunk too few": lambda: iter([frame(b"one")]),
    "nothing": lambda: iter([]),
    "a chunk that is longer": lambda: iter([frame(b"longer", of=b"one")]),
    "a chunk that is shorter": lambda: iter([frame(b"o", of=b"one")]),
    "a megabyte for three bytes": lambda: iter([frame(bytes(2**20), of=b"one")]),
    "a delta that was not asked for": lambda: iter(
        [frame(b"d", of=b"one", status=FrameStatus.DELTA, codec=Codec.ZSTD)]
    ),
    "a compressed chunk that is longer": lambda: iter([frame(b"longer", of=b"one", codec=Codec.ZSTD)]),
    "a missing chunk with bytes": lambda: iter([frame(b"one", status=FrameStatus.MISSING)]),
    "an endless stream": lambda: itertools.chain([frame(b"one"), frame(b"three")], endless()),
    "an endless stream of another chunk": endless,
}


class RemotePeerContract:
    """Every promise of `Peer` about the source and the network behind it."""

    @pytest.fixture
    def listen(self) -> Listen:
        """Serves a source on a port of this machine, until the end of the test."""
        raise NotImplementedError("a subclass says how to serve")

    @pytest.fixture
    def open_peer(self) -> OpenPort:
        """Gives a peer of a port of this machine whose timeout is `TIMEOUT_S`; closes it at the end of the test."""
        raise NotImplementedError("a subclass says how to connect")

    @pytest.fixture
    def store(self) -> Iterator[SourceStore]:
        """What the source holds."""
        store = SourceStore()
        store.add(named(b"one", b"two", b"three"))
        yield store
        store.open.set()

    @pytest.fixture
    def source(self, store: SourceStore) -> Iterator[TwistedServing]:
        """The source, to be twisted."""
        serving = TwistedServing(store)
        yield serving
        serving.open.set()

    @pytest.fixture
    def peer(self, listen: Listen, open_peer: OpenPort, source: TwistedServing) -> Peer:
        """The peer under test."""
        return open_peer(listen(source))

    def test_a_port_where_nobody_listens_is_unreachable(self, open_peer: OpenPort) -> None:
        with pytest.raises(PeerUnreachable):
            open_peer(free_port()).hello()

    def test_a_listener_that_never_answers_is_unavailable(self, open_peer: OpenPort) -> None:
        with socket.create_server((HOST, 0)) as silent, pytest.raises(Unavailable):
            open_peer(silent.getsockname()[1]).hello()

    def test_a_source_that_is_silent_is_unavailable(self, source: TwistedServing, peer: Peer) -> None:
        source.open.clear()
        with pytest.raises(Unavailable):
            peer.missing(ONE)
        source.open.set()
        assert peer.missing(ONE) == [False]

    def test_a_source_that_falls_silent_within_a_stream_is_unavailable(
        self, source: TwistedServing, peer: Peer
    ) -> None:
        released = threading.Event()

        def stalls(_: FetchAsked) -> Iterator[Sent]:
            yield frame(b"one")
            yield frame(noise(1, MEBIBYTE))
            released.wait(DEADLINE_S)

        source.frames = stalls
        try:
            with pytest.raises(Unavailable):
                fetched(peer, piece(b"one", noise(1, MEBIBYTE), b"three"))
        finally:
            released.set()
        source.frames = None
        assert fetched(peer, piece(b"one"))[0][1] == b"one"

    def test_a_source_that_breaks_within_a_stream_ends_it(self, source: TwistedServing, peer: Peer) -> None:
        def breaks(_: FetchAsked) -> Iterator[Sent]:
            yield frame(b"one")
            raise RuntimeError("a defect of the source")

        source.frames = breaks
        with pytest.raises((Unavailable, BrokenPeer)):
            fetched(peer, piece(b"one", b"three"))
        source.frames = None
        assert fetched(peer, piece(b"one"))[0][1] == b"one"

    @pytest.mark.parametrize(
        ("refusal", "expected"),
        [
            (Unavailable("not now"), Unavailable),
            (StoreFailed("broken"), Unavailable),
            (QuotaExceeded("full"), Unavailable),
            (RuntimeError("a defect"), Unavailable),
            (NotFound("nothing", digest=str(Digest.of(b"one"))), NotFound),
            (Corrupt("damaged", digest=str(Digest.of(b"one"))), Corrupt),
            (Fenced("stop"), BrokenPeer),
            (InvalidRequest("wrong"), BrokenPeer),
        ],
        ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
    )
    def test_a_refusal_is_what_the_source_may_say_and_no_more(
        self, source: TwistedServing, peer: Peer, refusal: Exception, expected: type[ReplicatorError]
    ) -> None:
        source.refusal = refusal
        with pytest.raises(expected) as caught:
            peer.missing(ONE)
        assert type(caught.value) is expected
        if isinstance(refusal, (NotFound, Corrupt)):
            assert caught.value.data["digest"] == str(Digest.of(b"one"))
        source.refusal = None
        assert peer.missing(ONE) == [False]

    @pytest.mark.parametrize("lie", LIES)
    def test_a_stream_of_lies_is_broken(self, source: TwistedServing, peer: Peer, lie: str) -> None:
        source.frames = lambda _: LIES[lie]()
        with pytest.raises(BrokenPeer):
            fetched(peer, piece(b"one", b"three"))
        source.frames = None
        assert fetched(peer, piece(b"one"))[0][1] == b"one"

    def test_bytes_that_are_not_the_chunk_are_for_the_caller_to_find(
        self, source: TwistedServing, peer: Peer
    ) -> None:
        source.frames = lambda _: iter([frame(b"eno", of=b"one")])
        assert fetched(peer, piece(b"one"))[0][1] == b"eno"

    def test_a_name_that_is_none_is_broken(self, source: TwistedServing, peer: Peer) -> None:
        source.node = NodeName("no name")
        with pytest.raises(BrokenPeer):
            peer.hello()

    @pytest.mark.parametrize("lie", ["order", "prefix", "count", "digest", "end"])
    def test_a_listing_that_contradicts_itself_or_the_question_is_broken(
        self, source: TwistedServing, peer: Peer, lie: str
    ) -> None:
        keys = ["p/b", "p/a"] if lie == "order" else ["p/a", "q"] if lie == "prefix" else ["p/a", "p/b"]
        entries = [Entry(ObjectId(key), VersionId(bytes(16)), Digest.of(b""), 0) for key in keys]
        encoded = [encode_entry(each.object_id, each.version, each.manifest) for each in entries]
        source.listed = Listing(
            entries,
            stretch_digest(encoded[:1] if lie == "digest" else encoded),
            3 if lie == "count" else 2,
            "p/a" if lie == "end" else keys[-1],
            False,
            Versioning.OFF,
            NODE,
        )
        with pytest.raises(BrokenPeer):
            peer.listing(Stretch(bucket=DEFAULT_BUCKET, prefix="p/"), limit=10)

    def test_a_source_is_not_run_ahead_of_for_long(self, source: TwistedServing, peer: Peer) -> None:
        payload = noise(1, 256 * 1024)
        source.frames = lambda _: itertools.repeat(frame(payload), 256)
        stream = peer.fetch([piece(*[payload] * 256)], compress=False)
        next(stream)
        assert source.sent < 200
        stream.close()  # type: ignore[attr-defined]

    def test_a_slow_link_is_not_silence(
        self, source: TwistedServing, listen: Listen, open_peer: OpenPort
    ) -> None:
        payloads = [noise(seed, 16 * 1024) for seed in range(32)]
        source.store.add(named(*payloads))
        with slow_link(listen(source), bytes_per_s=200_000) as port:
            frames = fetched(open_peer(port), piece(*payloads))
        assert [payload for _, payload in frames] == payloads

    def test_closing_wakes_whoever_waits_for_an_answer(self, source: TwistedServing, peer: Peer) -> None:
        source.open.clear()
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(peer.missing, ONE)
            assert source.asked.wait(DEADLINE_S)
            peer.close()
            try:
                with pytest.raises(Cancelled):
                    waiting.result(DEADLINE_S)
            finally:
                source.open.set()

    def test_closing_wakes_whoever_waits_for_chunks(self, source: TwistedServing, peer: Peer) -> None:
        got: list[bytes] = []
        released = threading.Event()

        def stalls(_: FetchAsked) -> Iterator[Sent]:
            yield frame(b"one")
            yield frame(noise(1, MEBIBYTE))
            released.wait(DEADLINE_S)

        def fetch() -> None:
            for delivery in peer.fetch([piece(b"one", noise(1, MEBIBYTE), b"two")], compress=False):
                got.extend(bytes(each.payload) for each in delivery.frames)

        source.frames = stalls
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(fetch)
            wait_until(lambda: got, "the first chunk came")
            peer.close()
            try:
                with pytest.raises(Cancelled):
                    waiting.result(DEADLINE_S)
            finally:
                released.set()

    def test_traffic_is_what_the_connections_carried(
        self, source: TwistedServing, listen: Listen, open_peer: OpenPort
    ) -> None:
        payloads = [noise(seed, 16 * 1024) for seed in range(256)]
        source.store.add(named(*payloads))
        with CountingProxy(listen(source)) as proxy:
            peer = open_peer(proxy.port)
            assert peer.traffic == (0, 0)
            received = 0
            for delivery in peer.fetch([piece(*payloads)], compress=False):
                received += delivery.wire_bytes
            peer.missing([Digest.of(payload) for payload in payloads])
            peer.close()
            counted = proxy.counted()
        assert counted.received * 0.99 < peer.traffic.received < counted.received * 1.01
        assert counted.sent * 0.9 < peer.traffic.sent < counted.sent * 1.1
        assert sum(map(len, payloads)) < received <= peer.traffic.received
