"""Which transport a pull uses with which source.

A source that has no `rpc_url` speaks HTTP alone. One that has it may have its HTTP replication off, which only it
can say: so a source that may speak both is greeted by the preferred transport first, and by the other where that is
not understood or not reached. What it answered to is remembered until something goes wrong with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from replicator.data_plane.replication.grpc_peer import GrpcPeer
from replicator.data_plane.replication.http_peer import HttpPeer
from replicator.data_plane.replication.ports import (
    Delivery,
    Listing,
    Offer,
    OpenPeer,
    Peer,
    Piece,
    Removal,
    Stretch,
    Traffic,
    Wanted,
)
from replicator.kernel.clock import Clock
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
from replicator.kernel.manifest import Manifest
from replicator.kernel.names import BucketName, NodeName
from replicator.wire.sessions import TaskSource

Transport = Literal["http", "grpc"]
PREFERRED: tuple[Transport, Transport] = ("http", "grpc")
"""The faster one first; docs/adr/0011-transports.md has the figures."""

REMEMBERED_MAX = 1024
Open = Callable[[TaskSource], Peer]


def peer_opener(transport: Literal["auto", "http", "grpc"], *, timeout_s: float, clock: Clock) -> OpenPeer:
    """Opens peers by `transport`; auto: by the faster one that the source speaks.

    What it returns raises `InvalidRequest` for a source that has no address for the transport.
    """
    by_transport: dict[Transport, Open] = {
        "http": lambda source: HttpPeer(source.base_url, timeout_s=timeout_s, clock=clock),
        "grpc": lambda source: GrpcPeer(_rpc_url(source), timeout_s=timeout_s, clock=clock),
    }
    if transport != "auto":
        return by_transport[transport]
    memory = Memory()

    def open_peer(source: TaskSource) -> Peer:
        if source.rpc_url is None:
            return by_transport["http"](source)
        return EitherPeer(source, by_transport, memory)

    return open_peer


class Memory:
    """Which transport each source answered to last. Any thread may use it."""

    def __init__(self) -> None:
        self._known: dict[TaskSource, Transport] = {}
        self._lock = threading.Lock()

    def known(self, source: TaskSource) -> Transport | None:
        """None for one that is to be greeted."""
        return self._known.get(source)

    def learn(self, source: TaskSource, transport: Transport) -> None:
        """It answered to `transport`. The one learnt first is forgotten for it where there are too many."""
        with self._lock:
            self._known[source] = transport
            if len(self._known) > REMEMBERED_MAX:
                del self._known[next(iter(self._known))]

    def forget(self, source: TaskSource) -> None:
        """Greet it next time."""
        with self._lock:
            self._known.pop(source, None)


class EitherPeer:
    """`Peer` at a source that may speak both transports; the choice is made when it is first asked."""

    def __init__(self, source: TaskSource, by_transport: dict[Transport, Open], memory: Memory) -> None:
        self._source = source
        self._by_transport = by_transport
        self._memory = memory
        self._opened: list[Peer] = []
        self._lock = threading.Lock()
        self._chosen: Peer | None = None
        self._closed = False

    def hello(self) -> NodeName:
        """See `Peer.hello`."""
        with self._peer() as peer:
            return peer.hello()

    def buckets(self, after: str, limit: int) -> list[BucketName]:
        """See `Peer.buckets`."""
        with self._peer() as peer:
            return peer.buckets(after, limit)

    def listing(self, stretch: Stretch, *, limit: int, digest_only: bool = False) -> Listing:
        """See `Peer.listing`."""
        with self._peer() as peer:
            return peer.listing(stretch, limit=limit, digest_only=digest_only)

    def offers(self, wanted: Sequence[Wanted], *, hold_s: int) -> list[Offer | ReplicatorError]:
        """See `Peer.offers`."""
        with self._peer() as peer:
            return peer.offers(wanted, hold_s=hold_s)

    def page(self, manifest: Manifest, index: int) -> bytes:
        """See `Peer.page`."""
        with self._peer() as peer:
            return peer.page(manifest, index)

    def missing(self, digests: Sequence[Digest]) -> list[bool]:
        """See `Peer.missing`."""
        with self._peer() as peer:
            return peer.missing(digests)

    def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
        """See `Peer.fetch`."""
        with self._peer() as peer:
            yield from peer.fetch(pieces, compress=compress)

    def prove(self, wanted: Sequence[Wanted], *, size_bytes: int) -> list[Digest | ReplicatorError]:
        """See `Peer.prove`."""
        with self._peer() as peer:
            return peer.prove(wanted, size_bytes=size_bytes)

    def remove(self, removals: Sequence[Removal]) -> list[ReplicatorError | None]:
        """See `Peer.remove`."""
        with self._peer() as peer:
            return peer.remove(removals)

    @property
    def traffic(self) -> Traffic:
        """See `Peer.traffic`."""
        with self._lock:
            counts = [peer.traffic for peer in self._opened]
        return Traffic(sum(each.received for each in counts), sum(each.sent for each in counts))

    def close(self) -> None:
        """See `Peer.close`."""
        with self._lock:
            self._closed = True
            opened = list(self._opened)
        for peer in opened:
            peer.close()

    @contextmanager
    def _peer(self) -> Iterator[Peer]:
        if self._chosen is None:
            self._chosen = self._choose()
        try:
            yield self._chosen
        except (BrokenPeer, Unavailable):
            self._memory.forget(self._source)
            raise

    def _choose(self) -> Peer:
        known = self._memory.known(self._source)
        if known is not None:
            return self._open(known)
        first, second = PREFERRED
        refused: ReplicatorError
        try:
            return self._greeted(first)
        except (NotFound, BrokenPeer, PeerUnreachable) as error:
            refused = error
        try:
            return self._greeted(second)
        except (NotFound, BrokenPeer, PeerUnreachable) as error:
            raise _by_neither(self._source, refused, error) from error

    def _greeted(self, transport: Transport) -> Peer:
        peer = self._open(transport)
        peer.hello()
        self._memory.learn(self._source, transport)
        return peer

    def _open(self, transport: Transport) -> Peer:
        with self._lock:
            if self._closed:
                raise Cancelled("the connection was closed on this side")
            peer = self._by_transport[transport](self._source)
            self._opened.append(peer)
        return peer


def _rpc_url(source: TaskSource) -> str:
    if source.rpc_url is None:
        raise InvalidRequest(
            f"node '{source.node}' has no gRPC service: start it with --serve both, "
            "or this node with --transport auto",
            node=source.node,
        )
    return source.rpc_url


def _by_neither(source: TaskSource, first: ReplicatorError, second: ReplicatorError) -> ReplicatorError:
    message = (
        f"node '{source.node}' answers by neither transport: "
        f"{PREFERRED[0]}: {first.message}; {PREFERRED[1]}: {second.message}"
    )
    may_pass = isinstance(first, PeerUnreachable) or isinstance(second, PeerUnreachable)
    return PeerUnreachable(message) if may_pass else BrokenPeer(message)
