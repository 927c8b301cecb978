"""The `Peer` over HTTP: blocking sockets and reused buffers, because that is what moves the most bytes.

A reader thread fills one buffer while the caller verifies and stores another. Silence is bounded by the
socket's timeout, trickling by a least rate, and length by what was asked for.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from replicator.data_plane.replication.framing import FrameTaker, frame_bytes_max, stream_bytes_max
from replicator.data_plane.replication.http_body import BLOCK_BYTES, Body
from replicator.data_plane.replication.http_channel import HttpChannel
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
from replicator.kernel.clock import Clock
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, ReplicatorError, Unavailable
from replicator.kernel.manifest import PAGE_BYTES_MAX, Manifest
from replicator.kernel.names import BucketName, NodeName
from replicator.wire.frames import FRAME_BYTES
from replicator.wire.pb import replication_pb2 as pb
from replicator.wire.replication import REPLY_BYTES_MAX

BUFFERS = 3
DELTA_BLOCK_BYTES = 128 * 1024
_SHORT_BYTES_MAX = 64 * 1024
_REFUSALS_BYTES_MAX = 4 * 1024 * 1024
_SIGNS_BYTES_PER_S = 2

ReplyT = TypeVar("ReplyT", bound=Message)


class HttpPeer:
    """`Peer` at `base_url`.

    Memory: three buffers of a mebibyte and the longest frame asked for.

    Args:
        timeout_s: to resolve and connect, and for each wait for the next bytes.
    """

    def __init__(self, base_url: str, *, timeout_s: float, clock: Clock) -> None:
        self._channel = HttpChannel(base_url, timeout_s=timeout_s, clock=clock)
        self._buffers: list[bytearray] = []

    def hello(self) -> NodeName:
        """See `Peer.hello`."""
        reply = self._ask("hello", pb.HelloRequest(), pb.HelloReply, bytes_max=_SHORT_BYTES_MAX)
        return replies.decode_hello(reply)

    def buckets(self, after: str, limit: int) -> list[BucketName]:
        """See `Peer.buckets`."""
        request = requests.encode_buckets(after, limit)
        reply = self._ask("buckets", request, pb.BucketsReply, bytes_max=REPLY_BYTES_MAX)
        return replies.decode_buckets(reply, after, limit)

    def listing(self, stretch: Stretch, *, limit: int, digest_only: bool = False) -> Listing:
        """See `Peer.listing`."""
        request = requests.encode_list(stretch, limit=limit, digest_only=digest_only)
        bytes_max = _SHORT_BYTES_MAX if digest_only else REPLY_BYTES_MAX
        reply = self._ask("list", request, pb.ListReply, bytes_max=bytes_max)
        return replies.decode_list(reply, stretch, limit=limit, digest_only=digest_only)

    def offers(self, wanted: Sequence[Wanted], *, hold_s: int) -> list[Offer | ReplicatorError]:
        """See `Peer.offers`."""
        request = requests.encode_offers(wanted, hold_s=hold_s)
        reply = self._ask("offers", request, pb.OffersReply, bytes_max=REPLY_BYTES_MAX)
        return replies.decode_offers(reply, wanted)

    def page(self, manifest: Manifest, index: int) -> bytes:
        """See `Peer.page`."""
        request = requests.encode_page(manifest, index)
        reply = self._ask("page", request, pb.PageReply, bytes_max=PAGE_BYTES_MAX + FRAME_BYTES)
        return replies.decode_page(reply)

    def missing(self, digests: Sequence[Digest]) -> list[bool]:
        """See `Peer.missing`."""
        request = requests.encode_missing(digests)
        reply = self._ask("missing", request, pb.MissingReply, bytes_max=_SHORT_BYTES_MAX)
        return replies.decode_missing(reply, len(digests))

    def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
        """See `Peer.fetch`."""
        message = requests.encode_fetch(pieces, compress=compress).SerializeToString()
        length_max = stream_bytes_max(pieces)
        begun = self._channel.traffic.received
        with self._channel.post("/replication/fetch", message, answer_bytes_max=length_max) as body:
            yield from self._receive(body, pieces, begun)

    def prove(self, wanted: Sequence[Wanted], *, size_bytes: int) -> list[Digest | ReplicatorError]:
        """See `Peer.prove`. The node gives signs of life meanwhile: silence is bounded as ever."""
        request = requests.encode_prove(wanted)
        more_s = patience_s(size_bytes)
        bytes_max = _REFUSALS_BYTES_MAX + int(more_s * _SIGNS_BYTES_PER_S)
        reply = self._ask("prove", request, pb.ProveReply, bytes_max=bytes_max, more_s=more_s)
        return replies.decode_prove(reply, len(wanted))

    def remove(self, removals: Sequence[Removal]) -> list[ReplicatorError | None]:
        """See `Peer.remove`."""
        request = requests.encode_remove(removals)
        reply = self._ask("remove", request, pb.RemoveReply, bytes_max=_REFUSALS_BYTES_MAX)
        return replies.decode_remove(reply, len(removals))

    @property
    def traffic(self) -> Traffic:
        """See `Peer.traffic`."""
        return self._channel.traffic

    def close(self) -> None:
        """See `Peer.close`."""
        self._channel.close()

    def _ask(
        self, method: str, request: Message, reply: type[ReplyT], *, bytes_max: int, more_s: float = 0.0
    ) -> ReplyT:
        path, message = f"/replication/{method}", request.SerializeToString()
        with self._channel.post(path, message, answer_bytes_max=bytes_max, more_s=more_s) as body:
            encoded = body.read()
        with from_server(f"answer to {path}"):
            return parse_message(reply, encoded)

    def _receive(self, body: Body, pieces: Sequence[Piece], begun: int) -> Iterator[Delivery]:
        has_deltas = any(piece.references for piece in pieces)
        block_bytes = DELTA_BLOCK_BYTES if has_deltas else BLOCK_BYTES
        reading = _Reading(
            body, FrameTaker(pieces), self._channel, block_bytes=block_bytes, received_before=begun
        )
        for buffer in self._buffers_of(BLOCK_BYTES + frame_bytes_max(pieces)):
            reading.free.put(buffer)
        reader = threading.Thread(target=reading.run, name="pull-reader", daemon=True)
        reader.start()
        try:
            while (item := reading.filled.get()) is not None:
                if isinstance(item, ReplicatorError):
                    raise item
                delivery, buffer = item
                yield delivery
                reading.free.put(buffer)
        except BaseException:
            # Wakes the reader, which may be waiting for the source.
            self._channel.drop()
            raise
        finally:
            reading.free.put(None)
            reader.join()

    def _buffers_of(self, size: int) -> list[bytearray]:
        if not self._buffers or len(self._buffers[0]) < size:
            self._buffers = [bytearray(size) for _ in range(BUFFERS)]
        return self._buffers


class _Reading:
    """What the reader thread does: fill buffers, take frames, carry what is not whole into the next buffer."""

    def __init__(
        self, body: Body, taker: FrameTaker, channel: HttpChannel, *, block_bytes: int, received_before: int
    ) -> None:
        self.free: queue.SimpleQueue[bytearray | None] = queue.SimpleQueue()
        self.filled: queue.SimpleQueue[tuple[Delivery, bytearray] | ReplicatorError | None] = (
            queue.SimpleQueue()
        )
        self._body = body
        self._taker = taker
        self._channel = channel
        self._block_bytes = block_bytes
        self._received = received_before

    def run(self) -> None:
        """Until the end of the stream, or until `free` gives None."""
        outcome: ReplicatorError | None = Unavailable(f"reading from {self._channel.url} broke off")
        try:
            carried = b""
            while not self._body.ended and not self._taker.damaged:
                buffer = self.free.get()
                if buffer is None:
                    return
                carried = self._fill(memoryview(buffer), carried, buffer)
            if not self._taker.done or (carried and not self._taker.damaged):
                raise BrokenPeer(f"{self._channel.url} ended its chunk stream in the middle of a frame")
            outcome = None
        except ReplicatorError as error:
            outcome = error
        finally:
            self.filled.put(outcome)

    def _fill(self, view: memoryview, carried: bytes, buffer: bytearray) -> bytes:
        """Hand over one buffer with at least one frame, if any comes; returns what is left over of it."""
        end = len(carried)
        view[:end] = carried
        broken: ReplicatorError | None = None
        while True:
            end, broken = self._body.fill(view[: end + self._block_bytes], end)
            frames, used = self._taker.take(view[:end])
            if frames or broken is not None or self._body.ended:
                break
        received = self._channel.traffic.received
        self.filled.put((Delivery(frames, received - self._received), buffer))
        self._received = received
        if broken is not None and not self._taker.damaged:
            raise broken
        return bytes(view[used:end])
