"""The destination's side of a migration: ask, compare, fetch what is missing, verify, commit.

The store is the checkpoint. Chunks that arrived stay, whatever becomes of the attempt, so the next attempt
asks only for the rest. Nothing is visible under the object's name before the whole of it is here and
committed, with the version id it has at its source.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from replicator.data_plane.ports import Hold, NewVersion, Settle, Store, Version
from replicator.data_plane.replication import plan
from replicator.data_plane.replication.plan import Tally
from replicator.data_plane.replication.ports import Delivery, Offer, Peer
from replicator.data_plane.settling import wait_settled
from replicator.kernel.clock import Clock
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, Cancelled, Conflict, NotFound, ReplicatorError
from replicator.kernel.manifest import ChunkRef, Manifest, decode_page
from replicator.kernel.names import DEFAULT_BUCKET, NodeName, ObjectId
from replicator.runtime.logging import get_logger

log = get_logger()
BATCH_BYTES = 64 * 1024 * 1024
CHECKPOINT_BYTES = 64 * 1024 * 1024
VERSION_AHEAD_MS_MAX = 10 * 366 * 24 * 3600 * 1000


class Pulled(NamedTuple):
    """A pull that succeeded; `skipped` where the destination already held the object's manifest."""

    version: Version
    skipped: bool


@dataclass(slots=True)
class Pull:
    """One attempt to bring one object here. `run` blocks; `tally` may be read meanwhile.

    Args:
        cancelled: set it, and close the peer, to stop the attempt.
        source: the node that the object is to come from; an offer of any other is refused.
    """

    object_id: ObjectId
    store: Store
    peer: Peer
    clock: Clock
    cancelled: threading.Event
    source: NodeName
    tally: Tally = field(default_factory=Tally)
    _unsynced_bytes: int = 0

    def run(self) -> Pulled:
        """Pull the object.

        Raises:
            NotFound: the source has no such object.
            Cancelled: `cancelled` was set.
            Corrupt, BrokenPeer: the source sent, or says it has, something that fails its check.
            Conflict: a newer version is here, or the peer is another node than the source.
            Unavailable, QuotaExceeded, StoreFailed: as the peer and the store say.
        """
        offer = self.peer.offer(self.object_id)
        self._require_source(offer)
        ahead_ms = offer.version.wall_ms - self.clock.wall_ms()
        if ahead_ms > VERSION_AHEAD_MS_MAX:
            raise BrokenPeer(
                "the source offers a version from more than ten years ahead; set the clocks of both nodes"
            )
        size = offer.manifest.size
        self.tally = Tally(logical=size)
        with self.store.hold(f"pull of '{self.object_id}'") as hold:
            version = None if self.store.has_damage else self._share(offer, hold)
            if version is not None:
                self.tally = Tally(logical=size, done=size)
                return Pulled(version, skipped=True)
            return Pulled(self._bring_all(offer, hold), skipped=False)

    def _share(self, offer: Offer, hold: Hold) -> Version | None:
        """Commit the manifest that is here already; None where it is not."""
        try:
            self.store.pin(offer.manifest.digest, hold)
            return self._commit(offer, None, shares=True)
        except NotFound:
            return None

    def _bring_all(self, offer: Offer, hold: Hold) -> Version:
        """Have everything here that the manifest names, and commit."""
        number = self.store.stage() if offer.manifest.pages else None
        try:
            for index, entries, encoded in self._pages(offer.manifest):
                self._bring(entries, hold)
                if number is not None:
                    self.store.stage_page(number, index, encoded, entries)
                    hold.chunks.clear()
                    self._unsynced_bytes = 0
        except BaseException:
            if number is not None:
                self.store.discard(number)
            self._keep_what_came()
            raise
        return self._commit(offer, number)

    def _require_source(self, offer: Offer) -> None:
        if offer.node != self.source:
            raise Conflict(
                f"the base_url of node '{self.source}' leads to node '{offer.node}': correct it by "
                "registering it again",
                node=offer.node,
            )

    def _keep_what_came(self) -> None:
        try:
            self.store.checkpoint()
        except ReplicatorError as error:
            # The attempt has failed for another reason, which is the one to report.
            log.warning("pull.not_kept", object_id=self.object_id, reason=error.message)

    def _pages(self, manifest: Manifest) -> Iterator[tuple[int, Sequence[ChunkRef], bytes]]:
        if not manifest.pages:
            yield 0, manifest.entries, b""
        for index in range(manifest.page_count):
            encoded = self.peer.page(manifest, index)
            self.tally = replace(self.tally, wire=self.tally.wire + len(encoded))
            yield index, decode_page(encoded, manifest, index), encoded

    def _bring(self, entries: Sequence[ChunkRef], hold: Hold) -> None:
        """Have every chunk of `entries` here."""
        lengths = self.store.locate([ref.digest for ref in entries], intact=True, hold=hold)
        wanted = plan.missing(entries, lengths)
        here = sum(ref.length for ref in entries) - sum(ref.length for ref in wanted)
        self.tally = replace(self.tally, done=self.tally.done + here)
        for batch in plan.batches(wanted, bytes_max=BATCH_BYTES):
            for delivery in self.peer.fetch(batch):
                self._keep(delivery, hold)

    def _keep(self, delivery: Delivery, hold: Hold) -> None:
        if self.cancelled.is_set():
            raise Cancelled("the pull was cancelled")
        for digest, payload in delivery.chunks:
            if Digest.of(payload) != digest:
                raise BrokenPeer(f"the source sent other bytes as chunk {digest}", digest=str(digest))
        self.store.add(delivery.chunks, hold)
        arrived = sum(len(payload) for _, payload in delivery.chunks)
        self.tally = replace(
            self.tally,
            done=self.tally.done + arrived,
            transferred=self.tally.transferred + arrived,
            wire=self.tally.wire + delivery.wire_bytes,
        )
        self._unsynced_bytes += arrived
        if self._unsynced_bytes >= CHECKPOINT_BYTES:
            self.store.checkpoint()
            self._unsynced_bytes = 0

    def _commit(self, offer: Offer, number: int | None, *, shares: bool = False) -> Version:
        new = NewVersion(
            object_id=self.object_id,
            bucket=DEFAULT_BUCKET,
            manifest=offer.manifest,
            content_type=offer.content_type,
            manifest_number=number,
            version=offer.version,
            shares=shares,
        )

        def start(settle: Settle) -> None:
            self.store.commit(new, settle)

        done = wait_settled(start)
        assert done is not None
        return done.version
