"""A source of pulls that is a store in the same process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from replicator.data_plane.ports import Store
from replicator.data_plane.replication.ports import Delivery, Offer
from replicator.kernel.errors import NotFound
from replicator.kernel.manifest import ChunkRef, Manifest
from replicator.kernel.names import DEFAULT_BUCKET, NodeName, ObjectId

SOURCE = NodeName("source")


class StorePeer:
    """`Peer` over a `Store`. `fetched` lists what was asked for, in order."""

    def __init__(self, store: Store, node: NodeName = SOURCE) -> None:
        self._store = store
        self._node = node
        self.fetched: list[ChunkRef] = []
        self.closed = False

    def offer(self, object_id: ObjectId) -> Offer:
        """See `Peer.offer`."""
        version = self._store.head(DEFAULT_BUCKET, object_id)
        if version is None:
            raise NotFound(f"there is no object '{object_id}'")
        manifest = self._store.manifest(version.manifest)
        return Offer(version.version, manifest, version.content_type, self._node)

    def page(self, manifest: Manifest, index: int) -> bytes:
        """See `Peer.page`."""
        return self._store.page(manifest, index)

    def fetch(self, refs: Sequence[ChunkRef]) -> Iterator[Delivery]:
        """See `Peer.fetch`: one chunk a delivery."""
        for ref in refs:
            payload = self._store.read([ref])
            self.fetched.append(ref)
            yield Delivery([(ref.digest, payload)], len(payload))

    def close(self) -> None:
        """See `Peer.close`."""
        self.closed = True
