"""The source of a survey: a peer whose every question is asked again where that may help."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from replicator.data_plane.replication.asking import Asking
from replicator.data_plane.replication.engine import Engine
from replicator.data_plane.replication.ports import Delivery, Listing, Offer, Piece, Stretch, Wanted
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Cancelled, ReplicatorError
from replicator.kernel.manifest import Manifest
from replicator.kernel.names import BucketName, NodeName
from replicator.wire.sessions import TaskSource


class Source:
    """What a survey and a removal ask of a peer; see `Peer` for what each method does and raises.

    Does not connect before the first question. One thread at a time, except for `stop` and `received_bytes`.
    """

    def __init__(self, source: TaskSource, engine: Engine) -> None:
        self._peer = engine.open_peer(source)
        self._stopped = threading.Event()
        self._asking = Asking(engine, self._peer, source=NodeName(source.node), cancelled=self._stopped)

    def require_right_node(self) -> None:
        """Raises `Conflict` where another node than the source answers."""
        self._asking.require_source(self._asking.ask(lambda peer: peer.hello()))

    def buckets(self, after: str, limit: int) -> list[BucketName]:
        """See `Peer.buckets`."""
        return self._asking.ask(lambda peer: peer.buckets(after, limit))

    def listing(self, stretch: Stretch, *, limit: int, digest_only: bool = False) -> Listing:
        """See `Peer.listing`."""
        return self._asking.ask(lambda peer: peer.listing(stretch, limit=limit, digest_only=digest_only))

    def offers(self, wanted: Sequence[Wanted], *, hold_s: int) -> list[Offer | ReplicatorError]:
        """See `Peer.offers`."""
        return self._asking.ask(lambda peer: peer.offers(wanted, hold_s=hold_s))

    def page(self, manifest: Manifest, index: int) -> bytes:
        """See `Peer.page`."""
        return self._asking.ask(lambda peer: peer.page(manifest, index))

    def prove(self, wanted: Sequence[Wanted], *, size_bytes: int) -> list[Digest | ReplicatorError]:
        """See `Peer.prove`."""
        return self._asking.ask(lambda peer: peer.prove(wanted, size_bytes=size_bytes))

    def fetch(self, pieces: Sequence[Piece]) -> Iterator[Delivery]:
        """See `Peer.fetch`; compressed, and not asked again."""
        return self._peer.fetch(pieces, compress=True)

    @property
    def stopped(self) -> threading.Event:
        """Set by `stop`."""
        return self._stopped

    @property
    def received_bytes(self) -> int:
        """Everything counted. Any thread may ask."""
        return self._peer.traffic.received

    def require_going_on(self) -> None:
        """Raises `Cancelled` after `stop`."""
        if self._stopped.is_set():
            raise Cancelled("the task was stopped")

    def stop(self) -> None:
        """From now on every question ends in `Cancelled`. Any thread may call it."""
        self._stopped.set()
        self._peer.close()

    def close(self) -> None:
        """Drop the connection."""
        self._peer.close()
