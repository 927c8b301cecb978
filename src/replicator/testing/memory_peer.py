"""A source of pulls in the same process: everything but the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from replicator.data_plane.replication.frame_order import FrameOrder
from replicator.data_plane.replication.messages import replies, requests
from replicator.data_plane.replication.messages.fields import parse_message
from replicator.data_plane.replication.messages.replies import Sent
from replicator.data_plane.replication.ports import (
    Delivery,
    Listing,
    Offer,
    Piece,
    Received,
    Removal,
    Stretch,
    Traffic,
    Wanted,
)
from replicator.data_plane.replication.serving import Serving
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Cancelled, ReplicatorError
from replicator.kernel.manifest import Manifest
from replicator.kernel.names import BucketName, NodeName
from replicator.wire.frames import FRAME_BYTES, Frame

MessageT = TypeVar("MessageT", bound=Message)

DELIVERY_BYTES = 1024 * 1024


class MemoryPeer:
    """`Peer` over a `Serving`. Every message is encoded, parsed and checked as if it had travelled.

    Attributes:
        fetched: the pieces asked for so far, in order.
        proven_bytes: how much was asked to be proven so far.
    """

    def __init__(self, serving: Serving, *, delivery_bytes: int = DELIVERY_BYTES) -> None:
        self._serving = serving
        self._delivery_bytes = delivery_bytes
        self._received = 0
        self._sent = 0
        self.fetched: list[Piece] = []
        self.proven_bytes = 0
        self.closed = False

    def hello(self) -> NodeName:
        """See `Peer.hello`."""
        return replies.decode_hello(self._answer(replies.encode_hello(self._serving.hello(), "0")))

    def buckets(self, after: str, limit: int) -> list[BucketName]:
        """See `Peer.buckets`."""
        asked = requests.decode_buckets(self._ask(requests.encode_buckets(after, limit)))
        names = self._serving.buckets(asked.after, asked.limit)
        return replies.decode_buckets(
            self._answer(replies.encode_buckets(self._serving.node, names)), after, limit
        )

    def listing(self, stretch: Stretch, *, limit: int, digest_only: bool = False) -> Listing:
        """See `Peer.listing`."""
        asked = requests.decode_list(
            self._ask(requests.encode_list(stretch, limit=limit, digest_only=digest_only))
        )
        listing = self._serving.listing(asked.stretch, limit=asked.limit, digest_only=asked.digest_only)
        reply = self._answer(replies.encode_list(listing))
        return replies.decode_list(reply, stretch, limit=limit, digest_only=digest_only)

    def offers(self, wanted: Sequence[Wanted], *, hold_s: int) -> list[Offer | ReplicatorError]:
        """See `Peer.offers`."""
        asked = requests.decode_offers(self._ask(requests.encode_offers(wanted, hold_s=hold_s)))
        offers = self._serving.offers(asked.wanted, hold_s=asked.hold_s)
        return replies.decode_offers(self._answer(replies.encode_offers(self._serving.node, offers)), wanted)

    def page(self, manifest: Manifest, index: int) -> bytes:
        """See `Peer.page`."""
        asked = requests.decode_page(self._ask(requests.encode_page(manifest, index)))
        page = self._serving.page(asked.manifest, asked.index)
        return replies.decode_page(self._answer(replies.encode_page(page)))

    def missing(self, digests: Sequence[Digest]) -> list[bool]:
        """See `Peer.missing`."""
        asked = requests.decode_missing(self._ask(requests.encode_missing(digests)))
        reply = self._answer(replies.encode_missing(self._serving.missing(asked)))
        return replies.decode_missing(reply, len(digests))

    def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
        """See `Peer.fetch`."""
        asked = requests.decode_fetch(self._ask(requests.encode_fetch(pieces, compress=compress)))
        self.fetched += pieces
        order = FrameOrder(pieces)
        taken: list[Received] = []
        size = 0
        for sent in self._serving.fetch(asked):
            self._require_open()
            taken.append(_take(order, sent))
            size += FRAME_BYTES + len(sent.payload)
            if size >= self._delivery_bytes:
                self._received += size
                yield Delivery(taken, size)
                taken, size = [], 0
        if taken:
            self._received += size
            yield Delivery(taken, size)

    def prove(self, wanted: Sequence[Wanted], *, size_bytes: int) -> list[Digest | ReplicatorError]:
        """See `Peer.prove`."""
        self.proven_bytes += size_bytes
        asked = requests.decode_prove(self._ask(requests.encode_prove(wanted)))
        reply = self._answer(replies.encode_prove(self._serving.node, self._serving.prove(asked)))
        return replies.decode_prove(reply, len(wanted))

    def remove(self, removals: Sequence[Removal]) -> list[ReplicatorError | None]:
        """See `Peer.remove`."""
        asked = requests.decode_remove(self._ask(requests.encode_remove(removals)))
        reply = self._answer(replies.encode_remove(self._serving.node, self._serving.remove(asked)))
        return replies.decode_remove(reply, len(removals))

    @property
    def traffic(self) -> Traffic:
        """See `Peer.traffic`."""
        return Traffic(self._received, self._sent)

    def close(self) -> None:
        """See `Peer.close`."""
        self.closed = True

    def _ask(self, request: MessageT) -> MessageT:
        self._require_open()
        encoded = request.SerializeToString()
        self._sent += len(encoded)
        return parse_message(type(request), encoded)

    def _answer(self, reply: MessageT) -> MessageT:
        self._require_open()
        encoded = reply.SerializeToString()
        self._received += len(encoded)
        return parse_message(type(reply), encoded)

    def _require_open(self) -> None:
        if self.closed:
            raise Cancelled("the peer was closed")


def _take(order: FrameOrder, sent: Sent) -> Received:
    frame = Frame(sent.digest, sent.status, sent.codec, len(sent.payload))
    return order.take(frame, memoryview(sent.payload))
