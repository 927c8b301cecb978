"""Replies between nodes: what one encodes the other decodes, and a reply that does not fit is the peer's fault."""

from __future__ import annotations

import pytest

from replicator.data_plane.ports import Versioning
from replicator.data_plane.replication.messages import replies
from replicator.data_plane.replication.messages.refusals import decode_refusal, encode_refusal
from replicator.data_plane.replication.ports import Entry, Listing, Offer, Stretch, Wanted
from replicator.kernel import errors
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, Corrupt, NotFound, ReplicatorError, TooLarge
from replicator.kernel.manifest import PAGE_BYTES_MAX
from replicator.kernel.merkle import encode_entry, stretch_digest
from replicator.kernel.names import DEFAULT_BUCKET, NodeName, ObjectId
from replicator.kernel.version import VersionId
from replicator.testing.objects import manifest_of
from replicator.wire.pb import replication_pb2 as pb
from replicator.wire.sessions import BYTES_MAX

NODE = NodeName("source")
STRETCH = Stretch(bucket=DEFAULT_BUCKET, prefix="a", after="a0", until="a9")
ALL = Stretch(bucket=DEFAULT_BUCKET, all_versions=True)


def version(number: int) -> VersionId:
    return VersionId(number.to_bytes(16))


def entry(key: str, number: int = 1, size: int = 5) -> Entry:
    return Entry(ObjectId(key), version(number), Digest.of(b"%d" % number), size)


def listing(*entries: Entry, more: bool = False) -> Listing:
    digest = stretch_digest(encode_entry(each.object_id, each.version, each.manifest) for each in entries)
    last = entries[-1].object_id if entries else ""
    return Listing(list(entries), digest, len(entries), last, more, Versioning.ON, NODE)


def decoded(told: Listing, stretch: Stretch = STRETCH, *, limit: int = 3) -> Listing:
    return replies.decode_list(replies.encode_list(told), stretch, limit=limit, digest_only=False)


@pytest.mark.parametrize(
    "told",
    [
        listing(),
        listing(entry("a1"), entry("a2")),
        listing(entry("a1"), entry("a9", size=BYTES_MAX), more=True),
    ],
)
def test_a_listing_arrives_as_it_was_sent(told: Listing) -> None:
    assert decoded(told) == told


def test_all_versions_of_a_key_arrive_newest_first() -> None:
    told = listing(entry("a", 3), entry("a", 2), entry("b", 7), entry("b", 1))
    assert decoded(told, ALL, limit=2) == told


def test_a_digest_arrives_without_entries() -> None:
    told = listing(entry("a1"), entry("a2"))._replace(entries=[])
    reply = replies.encode_list(told)
    assert replies.decode_list(reply, STRETCH, limit=3, digest_only=True) == told


def test_a_stretch_may_end_at_a_key_of_which_nothing_is_listed() -> None:
    told = listing(entry("a1"), more=True)._replace(last="a5")
    assert decoded(told) == told
    nothing = listing(more=True)._replace(last="a5")
    assert decoded(nothing) == nothing


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(listing(entry("a2"), entry("a1")), id="out of order"),
        pytest.param(listing(entry("a1", 2), entry("a1", 1)), id="two versions of a key"),
        pytest.param(listing(entry("b1")), id="without the prefix"),
        pytest.param(listing(entry("a0")), id="before the stretch"),
        pytest.param(listing(entry("a91")), id="behind the stretch"),
        pytest.param(listing(*(entry(f"a{number}") for number in range(1, 5))), id="too many keys"),
        pytest.param(listing(entry("a1", size=BYTES_MAX + 1)), id="a size out of range"),
        pytest.param(listing(entry("a1"))._replace(digest=Digest.of(b"")), id="another digest"),
        pytest.param(listing(entry("a1"))._replace(total=2), id="another count"),
        pytest.param(listing(entry("a1"))._replace(last=""), id="no end"),
        pytest.param(listing(entry("a1"), entry("a2"))._replace(last="a1"), id="an end before its entries"),
        pytest.param(listing(more=True), id="no progress"),
        pytest.param(listing(more=True)._replace(last="a0"), id="a step back"),
        pytest.param(listing(entry("a1"))._replace(node=NodeName("-")), id="no node"),
    ],
)
def test_a_listing_that_does_not_fit_is_the_peers_fault(told: Listing) -> None:
    with pytest.raises(BrokenPeer):
        decoded(told)


@pytest.mark.parametrize("numbers", [(1, 2), (2, 2)])
def test_versions_of_a_key_in_another_order_are_the_peers_fault(numbers: tuple[int, int]) -> None:
    with pytest.raises(BrokenPeer):
        decoded(listing(*(entry("a", number) for number in numbers)), ALL)


@pytest.mark.parametrize(
    "change",
    [{"key": "a/../1"}, {"key": "a1\n"}, {"version": b"short"}, {"manifest": b"short"}],
    ids=["a dot segment", "a control character", "a version", "a manifest"],
)
def test_an_entry_that_is_none_is_the_peers_fault(change: dict[str, str | bytes]) -> None:
    reply = replies.encode_list(listing(entry("a1")))
    for name, value in change.items():
        setattr(reply.entries[0], name, value)
    with pytest.raises(BrokenPeer):
        replies.decode_list(reply, STRETCH, limit=3, digest_only=False)


def test_entries_where_a_digest_was_asked_for_are_the_peers_fault() -> None:
    reply = replies.encode_list(listing(entry("a1")))
    with pytest.raises(BrokenPeer):
        replies.decode_list(reply, STRETCH, limit=3, digest_only=True)
    reply = replies.encode_list(listing()._replace(versioning="sometimes"))  # type: ignore[arg-type]
    with pytest.raises(BrokenPeer):
        replies.decode_list(reply, STRETCH, limit=3, digest_only=False)


WANTED = [
    Wanted(DEFAULT_BUCKET, ObjectId("a"), version(1)),
    Wanted(DEFAULT_BUCKET, ObjectId("b")),
]
OFFER = Offer(version(1), manifest_of(b"one", b"two"), "text/plain", Versioning.OFF, NODE)


def test_offers_arrive_as_they_were_sent_refusals_included() -> None:
    gone = NotFound("there is no 'b'")
    first, second = replies.decode_offers(replies.encode_offers(NODE, [OFFER, gone]), WANTED)
    assert first == OFFER
    assert type(second) is NotFound
    assert str(second) == "there is no 'b'"


def test_what_does_not_fit_is_said_of_all_but_the_first() -> None:
    told = replies.decode_offers(replies.encode_offers(NODE, [OFFER, TooLarge("full")]), WANTED)
    assert [type(each) for each in told] == [Offer, TooLarge]


def offered(**changes: bytes | str) -> pb.OffersReply:
    reply = replies.encode_offers(NODE, [OFFER, OFFER])
    for name, value in changes.items():
        setattr(reply.offers[0].offered, name, value)
    return reply


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(replies.encode_offers(NODE, [OFFER]), id="one too few"),
        pytest.param(replies.encode_offers(NODE, [OFFER] * 3), id="one too many"),
        pytest.param(offered(version=version(2)), id="another version than wanted"),
        pytest.param(offered(version=b""), id="no version"),
        pytest.param(offered(manifest=OFFER.manifest.encoded[:-1]), id="a manifest cut short"),
        pytest.param(offered(manifest=OFFER.manifest.encoded + bytes(36)), id="an empty chunk"),
        pytest.param(offered(content_type="a\nb"), id="no content type"),
        pytest.param(offered(versioning=""), id="no versioning"),
        pytest.param(pb.OffersReply(node="source", offers=[pb.Offer(), pb.Offer()]), id="nothing"),
        pytest.param(replies.encode_offers(NodeName("a b"), [OFFER, OFFER]), id="no node"),
        pytest.param(replies.encode_offers(NODE, [TooLarge("full"), OFFER]), id="too full for the first"),
    ],
)
def test_offers_that_do_not_fit_are_the_peers_fault(reply: pb.OffersReply) -> None:
    with pytest.raises(BrokenPeer):
        replies.decode_offers(reply, WANTED)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 4096])
def test_bits_of_missing_chunks_arrive_in_order(count: int) -> None:
    missing = [number % 3 == 0 for number in range(count)]
    assert replies.decode_missing(replies.encode_missing(missing), count) == missing


@pytest.mark.parametrize("bits", [b"", b"\x80", b"\x80\x80\x00", b"\x80\x01"])
def test_bits_about_other_chunks_are_the_peers_fault(bits: bytes) -> None:
    with pytest.raises(BrokenPeer):
        replies.decode_missing(pb.MissingReply(missing=bits), 9)


@pytest.mark.parametrize("length", [0, PAGE_BYTES_MAX + 1])
def test_a_page_out_of_bounds_is_the_peers_fault(length: int) -> None:
    with pytest.raises(BrokenPeer):
        replies.decode_page(pb.PageReply(page=bytes(length)))


def test_proofs_and_removals_arrive_as_they_were_sent() -> None:
    digest = Digest.of(b"damaged")
    proofs = replies.encode_prove(NODE, [OFFER.manifest.digest, Corrupt("it rots", digest=str(digest))])
    proven, damaged = replies.decode_prove(proofs, 2)
    assert proven == OFFER.manifest.digest
    assert isinstance(damaged, Corrupt)
    assert damaged.data == {"digest": str(digest)}
    gone, kept = replies.decode_remove(replies.encode_remove(NODE, [None, errors.Conflict("another")]), 2)
    assert gone is None
    assert type(kept) is errors.Conflict


def test_a_reply_of_proofs_may_come_in_parts() -> None:
    digest = OFFER.manifest.digest
    parts: list[list[Digest | ReplicatorError]] = [[], [digest], [], [NotFound("gone")]]
    whole = b"".join(replies.encode_prove(NODE, part).SerializeToString() for part in parts)
    proven, gone = replies.decode_prove(pb.ProveReply.FromString(whole), 2)
    assert proven == digest
    assert isinstance(gone, NotFound)


@pytest.mark.parametrize(
    "reply",
    [
        pb.ProveReply(node="source", proofs=[pb.Proof(manifest=bytes(32))]),
        pb.ProveReply(node="source", proofs=[pb.Proof(manifest=bytes(32)), pb.Proof()]),
        pb.ProveReply(node="source", proofs=[pb.Proof(manifest=bytes(31))] * 2),
        pb.ProveReply(proofs=[pb.Proof(manifest=bytes(32))] * 2),
    ],
)
def test_proofs_that_do_not_fit_are_the_peers_fault(reply: pb.ProveReply) -> None:
    with pytest.raises(BrokenPeer):
        replies.decode_prove(reply, 2)


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (errors.NotFound("x"), errors.NotFound),
        (errors.ObjectDeleted("x"), errors.ObjectDeleted),
        (errors.IsDeleteMarker("x"), errors.IsDeleteMarker),
        (errors.Conflict("x"), errors.Conflict),
        (errors.Corrupt("x"), errors.Corrupt),
        (errors.TooLarge("x"), errors.TooLarge),
        (errors.Unavailable("x"), errors.Unavailable),
        (errors.StoreFailed("x"), errors.Unavailable),
        (errors.QuotaExceeded("x"), errors.Unavailable),
        (errors.ReplicatorError("x"), errors.Unavailable),
        (errors.Fenced("x"), errors.BrokenPeer),
        (errors.InvalidRequest("x"), errors.BrokenPeer),
    ],
)
def test_a_peer_speaks_for_itself_alone(said: ReplicatorError, heard: type[ReplicatorError]) -> None:
    assert type(decode_refusal(encode_refusal(said))) is heard


def test_a_refusal_is_bounded_and_is_text() -> None:
    said = encode_refusal(NotFound("x" * 5000 + "\ud800"))
    assert len(decode_refusal(said).message) == 2000
    assert decode_refusal(encode_refusal(NotFound("\ud800"))).message == "?"
    with pytest.raises(BrokenPeer):
        replies.decode_remove(
            pb.RemoveReply(node="source", refusals=[pb.Refusal(code="corrupt", digest=b"x")]), 1
        )
