"""What a node does for other nodes: the source's side of `Peer`, over its store.

Everything is asked by strangers, so every answer is bounded, and what one of them is told is no promise but
for what it was offered, which stays here for as long as it was told. An object may be overwritten or deleted
while it is pulled: the version that was offered is served on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from replicator.data_plane.objects.blocks import BLOCK_BYTES_MAX
from replicator.data_plane.objects.finding import find_version
from replicator.data_plane.ports import Condition, Deleted, Hold, Store
from replicator.data_plane.replication.messages.replies import Sent
from replicator.data_plane.replication.messages.requests import FetchAsked
from replicator.data_plane.replication.pins import Pins
from replicator.data_plane.replication.ports import Listing, Offer, Removal, Stretch, Wanted
from replicator.data_plane.replication.proving import prove
from replicator.data_plane.replication.reliance import Named, Reliance
from replicator.data_plane.replication.sending import Delta, Lengths, Made, Step, asked_digests, make, steps
from replicator.data_plane.replication.stretches import cut_stretch
from replicator.kernel.clock import Clock
from replicator.kernel.digest import Digest
from replicator.kernel.errors import (
    Cancelled,
    Conflict,
    NotFound,
    PreconditionFailed,
    ReplicatorError,
    TooLarge,
    Unavailable,
)
from replicator.kernel.names import BucketName, NodeName
from replicator.wire.replication import OFFERS_BYTES_MAX

_DELTAS_MAX = 2


class Serving:
    """Answers for one store. Any thread may call any method; all of them block.

    Args:
        node: what this node says it is called.
    """

    def __init__(self, store: Store, *, node: NodeName, clock: Clock) -> None:
        self.node = node
        self.store = store
        self.pins = Pins(store, clock)
        self.reliance = Reliance()
        self._delta_turns = threading.BoundedSemaphore(_DELTAS_MAX)

    def hello(self) -> NodeName:
        """See `Peer.hello`."""
        return self.node

    def buckets(self, after: BucketName | None, limit: int) -> list[BucketName]:
        """See `Peer.buckets`."""
        return [bucket.name for bucket in self.store.buckets(after, limit)]

    def listing(self, stretch: Stretch, *, limit: int, digest_only: bool = False) -> Listing:
        """See `Peer.listing`. Raises `NotFound` where there is no such bucket."""
        bucket = self.store.bucket(stretch.bucket)
        scanned = self.store.scan(
            stretch.bucket,
            stretch.prefix,
            after=stretch.after,
            until=stretch.until,
            all_versions=stretch.all_versions,
        )
        cut = cut_stretch(scanned, limit=limit, digest_only=digest_only)
        return Listing(*cut, versioning=bucket.versioning, node=self.node)

    def offers(self, wanted: Sequence[Wanted], *, hold_s: int) -> list[Offer | ReplicatorError]:
        """See `Peer.offers`."""
        offers: list[Offer | ReplicatorError] = []
        offered_bytes = 0
        for each in wanted:
            if each.manifest is not None:
                self.pins.renew(each.manifest, hold_s)
            if offered_bytes > OFFERS_BYTES_MAX:
                offers.append(TooLarge("the answer is full: ask for this one again"))
                continue
            try:
                offer = self._offer(each, hold_s)
            except ReplicatorError as error:
                offers.append(error)
                continue
            offers.append(offer)
            offered_bytes += len(offer.manifest.encoded)
        return offers

    def page(self, manifest: Digest, index: int) -> bytes:
        """See `Peer.page`. Raises `NotFound`, `Corrupt`."""
        return self.store.page(self.store.manifest(manifest), index)

    def missing(self, digests: Sequence[Digest]) -> list[bool]:
        """See `Peer.missing`; what is known as damaged is missing."""
        return [length is None for length in self.store.locate(digests, intact=True)]

    def locate(self, asked: FetchAsked, hold: Hold) -> Lengths:
        """The lengths of all that a fetch names; `hold` keeps what is here."""
        digests = asked_digests(asked)
        return dict(zip(digests, self.store.locate(digests, hold=hold), strict=True))

    def make(self, step: Step, *, compress: bool) -> Made:
        """See `sending.make`. Few deltas are made at the same time, because each takes much memory."""
        if not isinstance(step, Delta):
            return make(self.store, step, compress=compress)
        with self._delta_turns:
            return make(self.store, step, compress=compress)

    def fetch(self, asked: FetchAsked) -> Iterator[Sent]:
        """See `Peer.fetch`. Behind a CORRUPT frame it ends."""
        with self.store.hold("fetch by another node") as hold:
            lengths = self.locate(asked, hold)
            for step in steps(asked, lengths, lambda: BLOCK_BYTES_MAX):
                made = self.make(step, compress=asked.compress)
                yield from made.frames
                if made.corrupt is not None:
                    return

    def prove(
        self, wanted: Sequence[Wanted], *, stopped: threading.Event | None = None
    ) -> list[Digest | ReplicatorError]:
        """See `Peer.prove`. Raises `Cancelled` once `stopped` is set."""
        return [self._prove(each, stopped or threading.Event()) for each in wanted]

    def remove(self, removals: Sequence[Removal]) -> list[ReplicatorError | None]:
        """See `Peer.remove`. What is gone when this returns is gone durably.

        A version that this node relies on, because it is being moved here, is `Unavailable` for a removal.
        """
        with self.reliance.leaving([_named(each) for each in removals]) as free:
            waiting = [
                self._start_removal(each) if _named(each) in free else _refused(each) for each in removals
            ]
            return [wait() for wait in waiting]

    def _offer(self, wanted: Wanted, hold_s: int) -> Offer:
        bucket = self.store.bucket(wanted.bucket)
        for last in (False, True):
            version = find_version(self.store, wanted.bucket, wanted.object_id, wanted.version)
            try:
                manifest = self.pins.pin(version.manifest, hold_s)
            except NotFound:
                # It was deleted or overwritten since it was found, and its manifest reclaimed.
                if last:
                    raise
                continue
            return Offer(version.version, manifest, version.content_type, bucket.versioning, self.node)
        raise AssertionError("the loop returns or raises")

    def _prove(self, wanted: Wanted, stopped: threading.Event) -> Digest | ReplicatorError:
        try:
            return prove(self.store, wanted, stopped=stopped)
        except Cancelled:
            raise
        except ReplicatorError as error:
            return error

    def _start_removal(self, removal: Removal) -> Callable[[], ReplicatorError | None]:
        """Begin, so that many are committed together; returns what waits for the outcome."""
        settled = threading.Event()
        outcome: list[ReplicatorError | None] = []

        def settle(_: Deleted | None, error: ReplicatorError | None) -> None:
            outcome.append(error)
            settled.set()

        def wait() -> ReplicatorError | None:
            settled.wait()
            return _of_removal(removal, outcome[0])

        only = Condition(manifests=frozenset({removal.manifest}))
        self.store.delete(removal.bucket, removal.object_id, only, settle, version=removal.version)
        return wait


def _named(removal: Removal) -> Named:
    return Named(removal.bucket, removal.object_id, removal.version)


def _refused(removal: Removal) -> Callable[[], ReplicatorError]:
    return lambda: Unavailable(
        f"version {removal.version} of '{removal.object_id}' is being moved here: ask again later",
        object_id=str(removal.object_id),
        version=str(removal.version),
    )


def _of_removal(removal: Removal, error: ReplicatorError | None) -> ReplicatorError | None:
    if isinstance(error, NotFound):
        return None
    if isinstance(error, PreconditionFailed):
        return Conflict(
            f"version {removal.version} of '{removal.object_id}' is not what was to be removed",
            object_id=str(removal.object_id),
            version=str(removal.version),
        )
    return error
