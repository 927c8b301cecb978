"""What a pull needs of its source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from replicator.kernel.digest import Digest
from replicator.kernel.manifest import ChunkRef, Manifest
from replicator.kernel.names import NodeName, ObjectId
from replicator.kernel.version import VersionId


class Offer(NamedTuple):
    """The latest version of an object at its source, and what that node says it is called."""

    version: VersionId
    manifest: Manifest
    content_type: str
    node: NodeName


class Delivery(NamedTuple):
    """Chunks that have arrived, in the order asked for, of the lengths asked for, not yet verified.

    The views are good until the next delivery is asked for. `wire_bytes` is all that was received for them.
    """

    chunks: Sequence[tuple[Digest, memoryview]]
    wire_bytes: int


class Peer(Protocol):
    """Another node, as the source of a pull. Blocking; one thread at a time, except for `close`.

    A peer is not trusted. What comes back has the form asked for and at most the length asked for; its
    content is for the caller to verify. Every wait has a deadline, name resolution included.

    Raises, in every method:
        PeerUnreachable: no connection, or none within the deadline.
        Unavailable: it answered that it cannot now, fell silent, or the connection broke.
        BrokenPeer: it broke the protocol.
    """

    def offer(self, object_id: ObjectId) -> Offer:
        """The latest version. The manifest matches its digest. Raises `NotFound`."""
        ...

    def page(self, manifest: Manifest, index: int) -> bytes:
        """Page `index`, unchecked, at most `PAGE_BYTES_MAX` long. Raises `NotFound`."""
        ...

    def fetch(self, refs: Sequence[ChunkRef]) -> Iterator[Delivery]:
        """The bytes of `refs`, in deliveries of about a mebibyte.

        Raises:
            NotFound: the source no longer has one of them; `data["digest"]` names it.
            Corrupt: it found one damaged; `data["digest"]` names it.
        """
        ...

    def close(self) -> None:
        """Drop the connection; a thread that waits on it gets an error. Any thread may call it."""
        ...
