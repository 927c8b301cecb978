"""Replies between nodes. A server encodes; a client decodes, and trusts nothing: `BrokenPeer`.

Whatever a reply can be held against in what was asked for, it is held against.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from replicator.data_plane.ports import Versioning
from replicator.data_plane.replication.messages.fields import from_server
from replicator.data_plane.replication.messages.refusals import decode_refusal, encode_refusal
from replicator.data_plane.replication.ports import Entry, Listing, Offer, Stretch, Wanted
from replicator.data_plane.replication.refusals import in_its_place
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, InvalidRequest, ReplicatorError, TooLarge
from replicator.kernel.manifest import PAGE_BYTES_MAX, decode_manifest
from replicator.kernel.merkle import encode_entry, stretch_digest
from replicator.kernel.names import BucketName, ContentType, NodeName, ObjectId
from replicator.kernel.version import VersionId
from replicator.wire.frames import Codec, FrameStatus
from replicator.wire.pb import replication_pb2 as pb
from replicator.wire.replication import LIST_ENTRIES_MAX
from replicator.wire.sessions import BYTES_MAX


class Sent(NamedTuple):
    """A frame with its payload."""

    digest: Digest
    status: FrameStatus
    codec: Codec
    payload: bytes | memoryview


def encode_hello(node: NodeName, release: str) -> pb.HelloReply:
    """See `Peer.hello`; `release` is that of the program."""
    return pb.HelloReply(node=node, release=release)


def decode_hello(reply: pb.HelloReply) -> NodeName:
    """From `encode_hello`; raises `BrokenPeer`."""
    with from_server("greeting"):
        return NodeName.parse(reply.node)


def encode_buckets(node: NodeName, names: Iterable[BucketName]) -> pb.BucketsReply:
    """See `Peer.buckets`."""
    return pb.BucketsReply(node=node, buckets=names)


def decode_buckets(reply: pb.BucketsReply, after: str, limit: int) -> list[BucketName]:
    """From `encode_buckets`, as the answer to `Peer.buckets`; raises `BrokenPeer`."""
    with from_server("list of buckets"):
        names = [BucketName.parse(name) for name in reply.buckets]
        _require(len(names) <= limit, "there are more buckets than were asked for")
        before = [after, *names]
        _require(all(each < name for each, name in zip(before, names, strict=False)), "buckets out of order")
        return names


def encode_list(listing: Listing) -> pb.ListReply:
    """See `Peer.listing`."""
    return pb.ListReply(
        node=listing.node,
        entries=[
            pb.Entry(key=entry.object_id, version=entry.version, manifest=entry.manifest, size=entry.size)
            for entry in listing.entries
        ],
        digest=listing.digest,
        count=listing.total,
        last=listing.last,
        more=listing.more,
        versioning=listing.versioning,
    )


def decode_list(reply: pb.ListReply, stretch: Stretch, *, limit: int, digest_only: bool) -> Listing:
    """From `encode_list`, as the answer to `Peer.listing`; raises `BrokenPeer`."""
    with from_server("listing"):
        entries = _decode_entries(reply, stretch, limit)
        digest = Digest(reply.digest)
        _check_extent(reply, stretch)
        if digest_only:
            _require(not entries, "it lists what was to be told by its digest")
        else:
            _require(reply.count == len(entries), "its count is not that of its entries")
            encoded = (encode_entry(each.object_id, each.version, each.manifest) for each in entries)
            _require(stretch_digest(encoded) == digest, "its digest is not that of its entries")
        return Listing(
            entries,
            digest,
            reply.count,
            reply.last,
            reply.more,
            _versioning(reply.versioning),
            NodeName.parse(reply.node),
        )


def encode_offers(node: NodeName, offers: Iterable[Offer | ReplicatorError]) -> pb.OffersReply:
    """See `Peer.offers`."""
    return pb.OffersReply(node=node, offers=map(_encode_offer, offers))


def decode_offers(reply: pb.OffersReply, wanted: Sequence[Wanted]) -> list[Offer | ReplicatorError]:
    """From `encode_offers`, as the answer to `Peer.offers`; raises `BrokenPeer`."""
    with from_server("offers"):
        _require_one_each(len(reply.offers), len(wanted))
        node = NodeName.parse(reply.node)
        offers = [_decode_offer(each, asked, node) for each, asked in zip(reply.offers, wanted, strict=True)]
        # Whoever asks again for what did not fit must get on.
        _require(not isinstance(offers[0], TooLarge), "not even the first version fits into it")
        return offers


def encode_page(page: bytes) -> pb.PageReply:
    """See `Peer.page`."""
    return pb.PageReply(page=page)


def decode_page(reply: pb.PageReply) -> bytes:
    """From `encode_page`; raises `BrokenPeer`."""
    if not 1 <= len(reply.page) <= PAGE_BYTES_MAX:
        raise BrokenPeer(f"the peer sent a manifest page of {len(reply.page)} bytes")
    return reply.page


def encode_missing(missing: Sequence[bool]) -> pb.MissingReply:
    """See `Peer.missing`."""
    bits = int("".join("01"[each] for each in missing), 2) << -len(missing) % 8
    return pb.MissingReply(missing=bits.to_bytes(-(-len(missing) // 8)))


def decode_missing(reply: pb.MissingReply, count: int) -> list[bool]:
    """From `encode_missing`, as the answer about `count` digests; raises `BrokenPeer`."""
    byte_count = -(-count // 8)
    if len(reply.missing) != byte_count:
        raise BrokenPeer(f"the peer answered about {count} chunks with {len(reply.missing)} bytes")
    bits = f"{int.from_bytes(reply.missing):0{8 * byte_count}b}"
    if "1" in bits[count:]:
        raise BrokenPeer("the peer answered about chunks that it was not asked for")
    return [bit == "1" for bit in bits[:count]]


def encode_prove(node: NodeName, proofs: Iterable[Digest | ReplicatorError]) -> pb.ProveReply:
    """See `Peer.prove`."""
    return pb.ProveReply(node=node, proofs=map(_encode_proof, proofs))


def decode_prove(reply: pb.ProveReply, count: int) -> list[Digest | ReplicatorError]:
    """From `encode_prove`, as the answer about `count` versions; raises `BrokenPeer`."""
    with from_server("proofs"):
        _require_one_each(len(reply.proofs), count)
        NodeName.parse(reply.node)
        return [_decode_proof(proof) for proof in reply.proofs]


def encode_remove(node: NodeName, refusals: Iterable[ReplicatorError | None]) -> pb.RemoveReply:
    """See `Peer.remove`."""
    return pb.RemoveReply(
        node=node,
        refusals=[pb.Refusal() if error is None else encode_refusal(error) for error in refusals],
    )


def decode_remove(reply: pb.RemoveReply, count: int) -> list[ReplicatorError | None]:
    """From `encode_remove`, as the answer about `count` versions; raises `BrokenPeer`."""
    with from_server("answer to a removal"):
        _require_one_each(len(reply.refusals), count)
        NodeName.parse(reply.node)
        return [decode_refusal(each) if each.code else None for each in reply.refusals]


def _decode_entries(reply: pb.ListReply, stretch: Stretch, limit: int) -> list[Entry]:
    _require(len(reply.entries) <= LIST_ENTRIES_MAX, "it is too long")
    entries: list[Entry] = []
    keys, before = 0, Entry(ObjectId(stretch.after), VersionId(bytes(16)), Digest(bytes(32)), 0)
    for each in reply.entries:
        same_key = bool(entries) and each.key == before.object_id
        key = before.object_id if same_key else _key_within(each.key, stretch)
        entry = Entry(key, VersionId(each.version), Digest(each.manifest), each.size)
        in_order = stretch.all_versions and entry.version < before.version if same_key else key > before[0]
        _require(in_order, "its entries are not in order")
        _require(entry.size <= BYTES_MAX, "a size is out of range")
        keys += not same_key
        entries.append(entry)
        before = entry
    _require(keys <= limit, "it has more keys than were asked for")
    return entries


def _check_extent(reply: pb.ListReply, stretch: Stretch) -> None:
    """A walk that goes on from `last` must get on, and may leave nothing out."""
    if not reply.last:
        _require(not reply.more and reply.count == 0, "it does not say where it ends")
        return
    last = _key_within(reply.last, stretch)
    _require(not reply.entries or last >= reply.entries[-1].key, "it ends before its last entry")


def _key_within(key: str, stretch: Stretch) -> ObjectId:
    # Text compares by code point, which is the byte order of UTF-8.
    within = key > stretch.after and (not stretch.until or key <= stretch.until)
    _require(within and key.startswith(stretch.prefix), "a key lies outside the stretch")
    return ObjectId.parse(key)


def _encode_offer(offer: Offer | ReplicatorError) -> pb.Offer:
    if isinstance(offer, ReplicatorError):
        return pb.Offer(refused=encode_refusal(offer))
    return pb.Offer(
        offered=pb.Offered(
            version=offer.version,
            manifest=offer.manifest.encoded,
            content_type=offer.content_type,
            versioning=offer.versioning,
        )
    )


def _decode_offer(offer: pb.Offer, wanted: Wanted, node: NodeName) -> Offer | ReplicatorError:
    if offer.WhichOneof("answer") == "refused":
        return in_its_place(node, decode_refusal(offer.refused))
    offered = offer.offered
    version = VersionId(offered.version)
    _require(wanted.version in (None, version), "a version is not the one asked for")
    return Offer(
        version,
        decode_manifest(offered.manifest),
        ContentType.parse(offered.content_type),
        _versioning(offered.versioning),
        node,
    )


def _encode_proof(proof: Digest | ReplicatorError) -> pb.Proof:
    if isinstance(proof, ReplicatorError):
        return pb.Proof(refused=encode_refusal(proof))
    return pb.Proof(manifest=proof)


def _decode_proof(proof: pb.Proof) -> Digest | ReplicatorError:
    if proof.WhichOneof("answer") == "refused":
        return decode_refusal(proof.refused)
    return Digest(proof.manifest)


def _versioning(text: str) -> Versioning:
    try:
        return Versioning(text)
    except ValueError as error:
        raise InvalidRequest(f"no state of a bucket: '{text[:80]}'") from error


def _require_one_each(answers: int, count: int) -> None:
    _require(answers == count, f"it has {answers} answers about {count} versions")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise InvalidRequest(what)
