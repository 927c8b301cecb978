"""What a pull hears from a source over HTTP, honest or not."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from replicator.data_plane.replication.http_body import BLOCK_BYTES
from replicator.data_plane.replication.http_peer import HttpPeer
from replicator.data_plane.replication.ports import Offer, Piece, Removal, Stretch, Traffic, Wanted
from replicator.data_plane.replication.unpack import Unpacker
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
from replicator.kernel.manifest import ChunkRef, Manifest, decode_manifest, decode_page
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.kernel.version import VersionId
from replicator.runtime.clock import SystemClock
from replicator.testing.clock import FrozenClock
from replicator.testing.forgery import Forgery, forge
from replicator.testing.lies import Lie, Line, altered, chunked, frame, respond, steps
from replicator.testing.lying_source import LyingSource
from replicator.testing.memory_store import MemoryStore
from replicator.testing.processes import HOST
from replicator.testing.waiting import DEADLINE_S, wait_until
from replicator.wire.frames import FRAME_BYTES, Codec, FrameStatus
from replicator.wire.pb import replication_pb2 as pb

KEY = ObjectId("a")
WHOLE = Stretch(bucket=DEFAULT_BUCKET)
BYTES = random.Random(4)
OLD = [BYTES.randbytes(60_000) for _ in range(3)]
NEW = [OLD[0] + b"more", BYTES.randbytes(50_000), OLD[2][:40_000]]
OBJECT = replace(forge(NEW), older={Digest.of(chunk): chunk for chunk in OLD})


def refs_of(chunks: list[bytes]) -> list[ChunkRef]:
    return [ChunkRef(Digest.of(chunk), len(chunk)) for chunk in chunks]


PLAIN = [Piece(refs_of(NEW))]
WITH_DELTAS = [Piece(refs_of(NEW[:1]), refs_of(OLD[:1])), Piece(refs_of(NEW[1:]), refs_of(OLD[1:]))]


@contextmanager
def peer_of(source: LyingSource, *, timeout_s: float = DEADLINE_S) -> Iterator[HttpPeer]:
    with closing(HttpPeer(source.url, timeout_s=timeout_s, clock=SystemClock())) as peer:
        yield peer


@contextmanager
def telling(lies: dict[str, Lie], *, timeout_s: float = DEADLINE_S) -> Iterator[HttpPeer]:
    with LyingSource() as source, peer_of(source, timeout_s=timeout_s) as peer:
        source.show(KEY, OBJECT, lies)  # type: ignore[arg-type]
        yield peer


def fetched(peer: HttpPeer, pieces: list[Piece]) -> list[bytes]:
    """What arrives and is proven, where the old chunks are here."""
    store = MemoryStore(clock=FrozenClock())
    store.add([(Digest.of(chunk), chunk) for chunk in OLD])
    unpacker = Unpacker(store)
    return [
        bytes(raw)
        for delivery in peer.fetch(pieces, compress=False)
        for _, raw in unpacker.unpack(pieces, delivery).chunks
    ]


@pytest.mark.parametrize("pieces", [PLAIN, WITH_DELTAS], ids=["plain", "with deltas"])
def test_what_was_asked_for_arrives(pieces: list[Piece]) -> None:
    with telling({}) as peer:
        assert fetched(peer, pieces) == NEW


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
@pytest.mark.parametrize("pieces", [PLAIN, WITH_DELTAS], ids=["plain", "with deltas"])
def test_chunked_coding_is_read_however_it_is_cut(pieces: list[Piece], size: int) -> None:
    lie: Lie = lambda line: line.send(chunked(line.body, size))  # noqa: E731
    with telling({"fetch": lie}) as peer:
        assert fetched(peer, pieces) == NEW


def test_chunked_coding_with_extensions_and_trailers_is_read() -> None:
    def lie(line: Line) -> None:
        head = respond(b"", [("Transfer-Encoding", "chunked")], length=None)
        line.send(head + b"%X ; a=b\r\n%b\r\n000\r\nX: y\r\n\r\n" % (len(line.body), line.body))

    with telling({"fetch": lie}) as peer:
        assert fetched(peer, PLAIN) == NEW


def test_a_stream_of_many_blocks_arrives_in_order_over_one_connection() -> None:
    chunks = [BYTES.randbytes(200_000) for _ in range(30)]
    with LyingSource() as source, peer_of(source) as peer:
        source.show(KEY, forge(chunks))
        for _ in range(2):
            got = []
            sizes = []
            for delivery in peer.fetch([Piece(refs_of(chunks))], compress=False):
                got += [bytes(each.payload) for each in delivery.frames]
                sizes.append(delivery.wire_bytes)
            assert got == chunks
            assert max(sizes) < 3 * BLOCK_BYTES
        wait_until(
            lambda: peer.traffic == Traffic(source.sent_bytes, source.received_bytes), "both count the same"
        )


def test_what_deliveries_say_adds_up_to_what_came_for_them() -> None:
    with LyingSource() as source, peer_of(source) as peer:
        source.show(KEY, OBJECT)
        received = sum(delivery.wire_bytes for delivery in peer.fetch(WITH_DELTAS, compress=False))
        assert received == peer.traffic.received
        wait_until(lambda: received == source.sent_bytes, "the source has counted as much")


def test_everything_else_is_asked_and_answered() -> None:
    pages = forge([bytes([number % 251, number // 251]) * 20 for number in range(5000)])
    with LyingSource() as source, peer_of(source) as peer:
        source.show(KEY, pages)
        assert peer.hello() == "source"
        (offer,) = peer.offers([Wanted(DEFAULT_BUCKET, KEY)], hold_s=10)
        assert isinstance(offer, Offer)
        assert (offer.version, offer.manifest.digest) == (pages.version, pages.digest)
        assert len(decode_page(peer.page(offer.manifest, 1), offer.manifest, 1)) == 5000 - 4096
        digests = [*pages.chunks][:3]
        assert peer.missing([*digests, Digest.of(b"other")]) == [False, False, False, True]
        assert [entry.object_id for entry in peer.listing(WHOLE, limit=10).entries] == [KEY]
        assert peer.listing(WHOLE, limit=10, digest_only=True).total == 1
        assert peer.prove([Wanted(DEFAULT_BUCKET, KEY)], size_bytes=1) == [pages.digest]
        removal = Removal(DEFAULT_BUCKET, KEY, offer.version, pages.digest)
        assert peer.remove([removal]) == [None]


def test_a_peer_that_was_closed_is_cancelled() -> None:
    with telling({"fetch": Line.stall}) as peer:
        threading.Timer(0.1, peer.close).start()
        with pytest.raises(Cancelled):
            fetched(peer, PLAIN)
        with pytest.raises(Cancelled):
            peer.hello()


def test_a_peer_that_is_closed_in_the_middle_of_a_stream_is_cancelled() -> None:
    with telling({"fetch": steps(lambda line: line.send(line.answer[:-100]), Line.stall)}) as peer:
        threading.Timer(0.1, peer.close).start()
        with pytest.raises(Cancelled):
            fetched(peer, PLAIN)


def test_a_stream_that_is_left_early_costs_its_connection_and_nothing_else() -> None:
    with telling({}) as peer:
        deliveries = peer.fetch(PLAIN, compress=False)
        next(deliveries)
        deliveries.close()  # type: ignore[attr-defined]
        assert fetched(peer, PLAIN) == NEW


def test_a_node_that_is_not_there_is_unreachable() -> None:
    with LyingSource() as gone:
        url = gone.url
    with pytest.raises(PeerUnreachable):
        HttpPeer(url, timeout_s=DEADLINE_S, clock=SystemClock()).hello()


def test_a_node_that_accepts_and_says_nothing_is_unavailable() -> None:
    with socket.create_server((HOST, 0)) as listener:
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        with pytest.raises(Unavailable):
            HttpPeer(url, timeout_s=0.2, clock=SystemClock()).hello()


@pytest.mark.parametrize("url", ["", "node1:9001", "ftp://node1", "http://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        HttpPeer(url, timeout_s=1, clock=SystemClock())


def with_coding(coded: bytes) -> Lie:
    head = respond(b"", [("Transfer-Encoding", "chunked")], length=None)
    return lambda line: line.send(head + coded)


def of_object(line: Line, *, status: FrameStatus = FrameStatus.DELTA, payload: bytes = b"delta") -> bytes:
    digest = Digest.of(NEW[0])
    return respond(frame(digest, payload, status, Codec.ZSTD) + line.body[FRAME_BYTES + len(NEW[0]) :])


# What no source may send. (What it may send and is wrong is found by the digests: see `unpack`.)
BROKEN: dict[str, Lie] = {
    "nothing": lambda line: line.send(respond(b"")),
    "too few frames": lambda line: line.send(respond(line.body[: FRAME_BYTES + 1])),
    "more frames": lambda line: line.send(respond(line.body + line.body)),
    "half a frame more": lambda line: line.send(chunked(line.body + b"x", 1000)),
    "a delta that nobody asked for": lambda line: line.send(of_object(line)),
    "no length": steps(
        lambda line: line.send(respond(b"", length=None)), lambda line: line.repeat(line.body)
    ),
    "a length of exabytes": lambda line: line.send(respond(line.body, length=2**62)),
    "a negative length": lambda line: line.send(respond(line.body, length=-5)),
    "endless chunks": steps(with_coding(b""), lambda line: line.repeat(b"400\r\n" + bytes(1024) + b"\r\n")),
    "a chunk of exabytes": with_coding(b"3fffffffffffffff\r\n"),
    "a chunk of more digits than any": with_coding(b"0" * 100 + b"1\r\n"),
    "a negative chunk": with_coding(b"-5\r\nhello\r\n"),
    "a chunk size in other words": with_coding(b"0x10\r\n" + bytes(16)),
    "a chunk size without end": steps(with_coding(b"1;"), lambda line: line.repeat(b"a" * 1000)),
    "a chunk longer than it says": with_coding(b"4\r\nhello\r\n0\r\n\r\n"),
    "trailers without end": lambda line: steps(
        with_coding(b"%x\r\n%b\r\n0\r\n" % (len(line.body), line.body)),
        lambda line: line.repeat(b"X: y\r\n" * 100),
    )(line),
    "not HTTP": lambda line: line.send(random.Random(2).randbytes(5000)),
    "404 without a reason": lambda line: line.send(respond(b"<html>", status="404 Not Found")),
}


@pytest.mark.parametrize("lie", BROKEN.values(), ids=BROKEN.keys())
def test_a_stream_that_breaks_the_protocol_is_given_up(lie: Lie) -> None:
    with telling({"fetch": lie}) as peer, pytest.raises(BrokenPeer):
        fetched(peer, PLAIN)


PASSING: dict[str, Lie] = {
    "silence before the answer": Line.stall,
    "silence in the middle": steps(lambda line: line.send(line.answer[:-100]), Line.stall),
    "silence within a chunk": steps(with_coding(b"100\r\nabc"), Line.stall),
    "silence within a chunk size": steps(with_coding(b"10"), Line.stall),
    "a body cut short": lambda line: line.send(line.answer[:-100]),
    "a chunk cut short": with_coding(b"100\r\nabc"),
    "a chunk size cut short": with_coding(b"10"),
    "no last chunk": lambda line: line.send(chunked(line.body, 1000)[:-5]),
    "a reset in the middle": steps(lambda line: line.send(line.answer[:-100]), Line.reset),
    "503": lambda line: line.send(respond(b"", status="503 Service Unavailable")),
}


@pytest.mark.parametrize("lie", PASSING.values(), ids=PASSING.keys())
def test_a_stream_that_breaks_off_may_be_tried_again(lie: Lie) -> None:
    with telling({"fetch": lie}, timeout_s=0.3) as peer, pytest.raises(Unavailable):
        fetched(peer, PLAIN)


def test_whole_chunks_that_came_before_a_break_are_delivered() -> None:
    with telling({"fetch": lambda line: line.send(line.answer[:-100])}) as peer:
        deliveries = peer.fetch(PLAIN, compress=False)
        assert [bytes(each.payload) for each in next(deliveries).frames] == NEW[:2]
        with pytest.raises(Unavailable):
            next(deliveries)


def entry(key: str, version: bytes = bytes(16)) -> pb.Entry:
    return pb.Entry(key=key, version=version, manifest=bytes(32), size=1)


def changed(**fields: object) -> Callable[[pb.ListReply], None]:
    def alter(reply: pb.ListReply) -> None:
        reply.MergeFrom(pb.ListReply(**fields))  # type: ignore[arg-type]

    return alter


def ask_listing(peer: HttpPeer) -> object:
    return peer.listing(WHOLE, limit=10)


def ask_offers(peer: HttpPeer) -> object:
    return peer.offers([Wanted(DEFAULT_BUCKET, KEY)], hold_s=1)


def ask_page(peer: HttpPeer) -> object:
    return peer.page(decode_manifest(OBJECT.manifest), 0)


def ask_missing(peer: HttpPeer) -> object:
    return peer.missing([ref.digest for ref in refs_of(NEW)])


def ask_prove(peer: HttpPeer) -> object:
    return peer.prove([Wanted(DEFAULT_BUCKET, KEY)], size_bytes=1)


def ask_remove(peer: HttpPeer) -> object:
    return peer.remove([Removal(DEFAULT_BUCKET, KEY, VersionId(OBJECT.version), OBJECT.digest)])


def proof_after(hours: int, *, size_bytes: int) -> list[Digest | ReplicatorError]:
    """The answer of a source that is never silent for long, but busy for so many hours."""
    clock = FrozenClock()
    head = respond(b"", [("Transfer-Encoding", "chunked")], length=None)
    alive = b"2\r\n" + pb.ProveReply(alive=True).SerializeToString() + b"\r\n"

    def lie(line: Line) -> None:
        line.send(head)
        wait_until(lambda: peer.traffic.received == len(head), "the client waits for the answer")
        for signs in (1, 2):
            line.send(alive)
            come = len(head) + signs * len(alive)
            wait_until(lambda come=come: peer.traffic.received == come, "the client takes the sign of life")  # type: ignore[misc]
            clock.now_ms += hours * 3600 * 1000 // 2
        line.send(alive)
        line.send(alive + b"%x\r\n%b\r\n0\r\n\r\n" % (len(line.body), line.body))

    with LyingSource() as source, closing(HttpPeer(source.url, timeout_s=DEADLINE_S, clock=clock)) as peer:
        source.show(KEY, OBJECT, {"prove": lie})
        return peer.prove([Wanted(DEFAULT_BUCKET, KEY)], size_bytes=size_bytes)


@pytest.mark.parametrize(("size_bytes", "hours"), [(1, 20), (2**40, 200)])
def test_a_proof_may_take_its_turn_and_what_its_bytes_need(size_bytes: int, hours: int) -> None:
    assert proof_after(hours, size_bytes=size_bytes) == [OBJECT.digest]


@pytest.mark.parametrize(("size_bytes", "hours"), [(1, 200), (2**64, 6000)])
def test_a_proof_does_not_take_for_ever_though_there_are_signs_of_life(size_bytes: int, hours: int) -> None:
    with pytest.raises(Unavailable):
        proof_after(hours, size_bytes=size_bytes)


GARBAGE: Lie = lambda line: line.send(respond(b"\xff" * 1000))  # noqa: E731
ENDLESS: Lie = steps(with_coding(b""), lambda line: line.repeat(b"10000\r\n" + bytes(65_536) + b"\r\n"))
ASKING: dict[str, Callable[[HttpPeer], object]] = {
    "hello": HttpPeer.hello,
    "list": ask_listing,
    "offers": ask_offers,
    "missing": ask_missing,
    "prove": ask_prove,
    "remove": ask_remove,
}


@pytest.mark.parametrize("lie", [GARBAGE, ENDLESS], ids=["garbage", "endless"])
@pytest.mark.parametrize("step", ASKING)
def test_an_answer_that_is_none_is_given_up(step: str, lie: Lie) -> None:
    with telling({step: lie}) as peer, pytest.raises(BrokenPeer):
        ASKING[step](peer)


@pytest.mark.parametrize("step", ASKING)
def test_an_answer_that_does_not_come_may_be_asked_for_again(step: str) -> None:
    with telling({step: Line.stall}, timeout_s=0.2) as peer, pytest.raises(Unavailable):
        ASKING[step](peer)


def with_more_but_no_last_key(reply: pb.ListReply) -> None:
    reply.CopyFrom(pb.ListReply(node="source", digest=bytes(32), more=True, versioning="off"))


LISTINGS: dict[str, Callable[[pb.ListReply], None]] = {
    "an entry too many": changed(entries=[entry("b")]),
    "entries out of order": changed(entries=[entry("A")], count=2),
    "an entry of another prefix": changed(entries=[entry("")], count=2),
    "an entry without a version": changed(entries=[entry("b", b"")], count=2),
    "a digest that is not theirs": lambda reply: setattr(reply, "digest", bytes(32)),
    "no digest": lambda reply: reply.ClearField("digest"),
    "a count that is not theirs": lambda reply: setattr(reply, "count", 7),
    "more, but no key to go on from": with_more_but_no_last_key,
    "an end before its last entry": lambda reply: setattr(reply, "last", "A"),
    "an unknown state of the bucket": lambda reply: setattr(reply, "versioning", "sometimes"),
    "a name that no node has": lambda reply: setattr(reply, "node", "no name!"),
}


@pytest.mark.parametrize("alter", LISTINGS.values(), ids=LISTINGS.keys())
def test_a_listing_that_contradicts_itself_is_refused(alter: Callable[[pb.ListReply], None]) -> None:
    with telling({"list": altered(pb.ListReply, alter)}) as peer, pytest.raises(BrokenPeer):
        peer.listing(WHOLE, limit=10)


def test_a_listing_longer_than_asked_for_is_refused() -> None:
    recorded: list[bytes] = []

    def record(line: Line) -> None:
        recorded.append(line.answer)
        line.send(line.answer)

    with LyingSource() as source, peer_of(source) as peer:
        for number in range(5):
            source.show(f"key{number}", OBJECT, {"list": record})
        assert len(peer.listing(WHOLE, limit=5).entries) == 5
        source.show("key0", OBJECT, {"list": lambda line: line.send(recorded[0])})
        with pytest.raises(BrokenPeer):
            peer.listing(WHOLE, limit=4)


OFFERS: dict[str, Forgery] = {
    "a name that no node has": replace(OBJECT, node="no name!"),
    "no version": replace(OBJECT, version=b""),
    "a version of other length": replace(OBJECT, version=bytes(17)),
    "a manifest cut off": replace(OBJECT, manifest=OBJECT.manifest[:-1]),
    "no manifest": replace(OBJECT, manifest=b""),
    "an endless content type": replace(OBJECT, content_type="x" * 60_000),
    "an unknown state of the bucket": replace(OBJECT, versioning="sometimes"),
}


def test_an_offer_of_another_version_than_asked_for_is_refused() -> None:
    wanted = Wanted(DEFAULT_BUCKET, KEY, VersionId(bytes(15) + b"x"))
    with telling({}) as peer, pytest.raises(BrokenPeer):
        peer.offers([wanted], hold_s=1)


@pytest.mark.parametrize("forgery", OFFERS.values(), ids=OFFERS.keys())
def test_an_offer_that_cannot_be_right_is_refused(forgery: Forgery) -> None:
    with LyingSource() as source, peer_of(source) as peer:
        source.show(KEY, forgery)
        with pytest.raises(BrokenPeer):
            ask_offers(peer)


@pytest.mark.parametrize("count", [0, 2])
def test_another_number_of_answers_than_questions_is_refused(count: int) -> None:
    def alter(reply: pb.OffersReply) -> None:
        offers = [reply.offers[0]] * count
        reply.ClearField("offers")
        reply.offers.extend(offers)

    with telling({"offers": altered(pb.OffersReply, alter)}) as peer, pytest.raises(BrokenPeer):
        ask_offers(peer)


def test_an_object_that_is_not_there_is_said_so() -> None:
    with telling({}) as peer:
        asked = [Wanted(DEFAULT_BUCKET, KEY), Wanted(DEFAULT_BUCKET, ObjectId("b"))]
        here, absent = peer.offers(asked, hold_s=1)
        assert isinstance(here, Offer)
        assert isinstance(absent, NotFound)


@pytest.mark.parametrize(
    "code", ["cancelled", "fenced", "store-failed", "quota-exceeded", "peer-unreachable", "no-such-code"]
)
def test_a_source_cannot_speak_for_the_destination(code: str) -> None:
    def alter(reply: pb.OffersReply) -> None:
        reply.offers[0].refused.CopyFrom(pb.Refusal(code=code, message="as it says"))

    with telling({"offers": altered(pb.OffersReply, alter)}) as peer:
        (said,) = peer.offers([Wanted(DEFAULT_BUCKET, KEY)], hold_s=1)
    assert isinstance(said, ReplicatorError)
    assert type(said) in {Unavailable, BrokenPeer}


@pytest.mark.parametrize("page", [b"", bytes(1024 * 1024)], ids=["empty", "too long"])
def test_a_page_of_impossible_length_is_refused(page: bytes) -> None:
    pages = forge([b"xy" * 10] * 5000)
    lie: Lie = lambda line: line.send(respond(pb.PageReply(page=page).SerializeToString()))  # noqa: E731
    manifest: Manifest = decode_manifest(pages.manifest)
    with LyingSource() as source, peer_of(source) as peer:
        source.show(KEY, pages, {"page": lie})
        with pytest.raises(BrokenPeer):
            peer.page(manifest, 0)
