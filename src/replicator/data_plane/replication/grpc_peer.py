"""The `Peer` over gRPC. What a message holds is checked by the thread that called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from replicator.data_plane.replication.fetch_reply import decode_frames
from replicator.data_plane.replication.frame_order import FrameOrder
from replicator.data_plane.replication.messages import replies, requests
from replicator.data_plane.replication.messages.fields import from_server, parse_message
from replicator.data_plane.replication.ports import (
    Delivery,
    Listing,
    Offer,
    Piece,
    Removal,
    Stretch,
    Traffic,
    Wanted,
)
from replicator.data_plane.replication.proving import patience_s
from replicator.data_plane.replication.rpc_channel import RpcChannel, RpcStream
from replicator.kernel.clock import Clock
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, ReplicatorError, Unavailable
from replicator.kernel.manifest import PAGE_BYTES_MAX, Manifest
from replicator.kernel.names import BucketName, NodeName
from replicator.wire.frames import DELTA_BYTES_MAX
from replicator.wire.pb import replication_pb2 as pb
from replicator.wire.rpc import MESSAGE_BYTES, MESSAGE_BYTES_MIN

RATE_MIN_BYTES_PER_S = 16 * 1024

_MESSAGE_S = 0.5
_BRIEF_S = 0.001

# What replies mostly have at most: they are given the time for it.
_SHORT_BYTES = 1024
_BUCKET_BYTES = 65
_ENTRY_BYTES = 256
_OFFER_BYTES = 4096
_REMOVAL_BYTES = 4096

ReplyT = TypeVar("ReplyT", bound=Message)


class GrpcPeer:
    """`Peer` at `rpc_url`.

    Args:
        timeout_s: to resolve and connect, and for each wait for the next message.
    """

    def __init__(self, rpc_url: str, *, timeout_s: float, clock: Clock) -> None:
        self._channel = RpcChannel(rpc_url, timeout_s=timeout_s, clock=clock)
        self._clock = clock
        self._message_bytes = MESSAGE_BYTES_MIN

    def hello(self) -> NodeName:
        """See `Peer.hello`."""
        return replies.decode_hello(self._ask("Hello", pb.HelloRequest(), pb.HelloReply, _SHORT_BYTES))

    def buckets(self, after: str, limit: int) -> list[BucketName]:
        """See `Peer.buckets`."""
        request = requests.encode_buckets(after, limit)
        reply = self._ask("Buckets", request, pb.BucketsReply, limit * _BUCKET_BYTES)
        return replies.decode_buckets(reply, after, limit)

    def listing(self, stretch: Stretch, *, limit: int, digest_only: bool = False) -> Listing:
        """See `Peer.listing`."""
        request = requests.encode_list(stretch, limit=limit, digest_only=digest_only)
        length = _SHORT_BYTES if digest_only else limit * _ENTRY_BYTES
        reply = self._ask("List", request, pb.ListReply, length)
        return replies.decode_list(reply, stretch, limit=limit, digest_only=digest_only)

    def offers(self, wanted: Sequence[Wanted], *, hold_s: int) -> list[Offer | ReplicatorError]:
        """See `Peer.offers`."""
        request = requests.encode_offers(wanted, hold_s=hold_s)
        reply = self._ask("Offers", request, pb.OffersReply, len(wanted) * _OFFER_BYTES)
        return replies.decode_offers(reply, wanted)

    def page(self, manifest: Manifest, index: int) -> bytes:
        """See `Peer.page`."""
        request = requests.encode_page(manifest, index)
        return replies.decode_page(self._ask("Page", request, pb.PageReply, PAGE_BYTES_MAX))

    def missing(self, digests: Sequence[Digest]) -> list[bool]:
        """See `Peer.missing`."""
        reply = self._ask("Missing", requests.encode_missing(digests), pb.MissingReply, _SHORT_BYTES)
        return replies.decode_missing(reply, len(digests))

    def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
        """See `Peer.fetch`. A delivery is what came in one message."""
        request = requests.encode_fetch(pieces, compress=compress)
        request.message_bytes, self._message_bytes = self._message_bytes, MESSAGE_BYTES_MIN
        order = FrameOrder(pieces)
        with self._channel.stream("Fetch", request.SerializeToString()) as stream:
            patience = _Patience(pieces, timeout_s=self._channel.timeout_s, clock=self._clock)
            while not order.done:
                message = patience.wait(stream, order.payload_bytes_max)
                if message is None:
                    raise BrokenPeer(f"{self._channel.url} ended its chunk stream early")
                patience.received_bytes += len(message)
                yield self._delivery(message, order)
            if not order.damaged and patience.wait(stream, 0) is not None:
                raise BrokenPeer(f"{self._channel.url} sends more frames than it was asked for")
            self._message_bytes = patience.message_bytes

    def prove(self, wanted: Sequence[Wanted], *, size_bytes: int) -> list[Digest | ReplicatorError]:
        """See `Peer.prove`. That the node is gone meanwhile, its missing answers to pings show."""
        request, more_s = requests.encode_prove(wanted), patience_s(size_bytes)
        reply = self._ask("Prove", request, pb.ProveReply, _SHORT_BYTES, more_s=more_s)
        return replies.decode_prove(reply, len(wanted))

    def remove(self, removals: Sequence[Removal]) -> list[ReplicatorError | None]:
        """See `Peer.remove`."""
        request = requests.encode_remove(removals)
        reply = self._ask("Remove", request, pb.RemoveReply, len(removals) * _REMOVAL_BYTES)
        return replies.decode_remove(reply, len(removals))

    @property
    def traffic(self) -> Traffic:
        """See `Peer.traffic`; how exact it is, `RpcChannel.traffic` says."""
        return self._channel.traffic

    def close(self) -> None:
        """See `Peer.close`."""
        self._channel.close()

    def _ask(
        self, method: str, request: Message, reply: type[ReplyT], reply_bytes: int, *, more_s: float = 0.0
    ) -> ReplyT:
        wait_s = self._channel.timeout_s + reply_bytes / RATE_MIN_BYTES_PER_S + more_s
        encoded = self._channel.call(method, request.SerializeToString(), wait_s=wait_s)
        with from_server(method):
            return parse_message(reply, encoded)

    def _delivery(self, message: bytes, order: FrameOrder) -> Delivery:
        wire_bytes = self._channel.count_received(message)
        frames = [
            order.take(frame, payload)
            for frame, payload in decode_frames(message, payload_bytes_max=DELTA_BYTES_MAX)
        ]
        if not frames:
            raise BrokenPeer(f"{self._channel.url} sent a message without a chunk")
        return Delivery(frames, wire_bytes)


class _Patience:
    """How long to wait for the messages of one fetch; the time that the caller takes does not count.

    A wait may last the timeout, and what one frame needs at the least rate; all waits together the timeout, and
    what all the bytes need. Messages are asked for of such a length that one comes every half a second.
    """

    def __init__(self, pieces: Sequence[Piece], *, timeout_s: float, clock: Clock) -> None:
        total_bytes = sum(ref.length for piece in pieces for ref in piece.chunks)
        self._timeout_s = timeout_s
        self._left_s = timeout_s + total_bytes / RATE_MIN_BYTES_PER_S
        self._clock = clock
        self._waited_s = 0.0
        self.received_bytes = 0

    @property
    def message_bytes(self) -> int:
        """How long the messages of the next fetch should be."""
        suitable = int(self.received_bytes / max(self._waited_s, _BRIEF_S) * _MESSAGE_S)
        return min(MESSAGE_BYTES, max(MESSAGE_BYTES_MIN, suitable))

    def wait(self, stream: RpcStream, frame_bytes_max: int) -> bytes | None:
        """The next message of `stream`, as `RpcStream.next`."""
        began_s = self._clock.monotonic_s()
        if self._left_s <= 0:
            raise Unavailable(f"the source sends less than {RATE_MIN_BYTES_PER_S} bytes a second")
        message = stream.next(
            wait_s=min(self._left_s, self._timeout_s + frame_bytes_max / RATE_MIN_BYTES_PER_S)
        )
        took_s = self._clock.monotonic_s() - began_s
        self._waited_s += took_s
        self._left_s -= took_s
        return message
