"""What a pull needs of its source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from replicator.data_plane.ports import Versioning
from replicator.kernel.digest import Digest
from replicator.kernel.errors import ReplicatorError
from replicator.kernel.manifest import ChunkRef, Manifest
from replicator.kernel.names import BucketName, NodeName, ObjectId
from replicator.kernel.version import VersionId
from replicator.wire.frames import Codec, FrameStatus
from replicator.wire.sessions import TaskSource


class Wanted(NamedTuple):
    """A version of an object; the latest where `version` is None.

    `manifest`: what was offered of it before.
    """

    bucket: BucketName
    object_id: ObjectId
    version: VersionId | None = None
    manifest: Digest | None = None


class Offer(NamedTuple):
    """A version at its source, what its bucket keeps, and what that node says it is called."""

    version: VersionId
    manifest: Manifest
    content_type: str
    versioning: Versioning
    node: NodeName


class Entry(NamedTuple):
    """A version as listings compare it; `size` in bytes."""

    object_id: ObjectId
    version: VersionId
    manifest: Digest
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Part of a bucket: the keys with `prefix` that follow `after`, up to and with `until`."""

    bucket: BucketName
    prefix: str = ""
    after: str = ""
    until: str = ""
    all_versions: bool = False


class Listing(NamedTuple):
    """The entries of (the first `limit` keys of) a stretch, in byte order of the keys, newest versions first.

    Attributes:
        entries: empty where only the digest was asked for.
        digest: see `kernel.merkle.stretch_digest`.
        total: entries, listed or not.
        last: the last key; "" where there is none.
        more: whether keys follow.
        node: what the source says it is called.
    """

    entries: Sequence[Entry]
    digest: Digest
    total: int
    last: str
    more: bool
    versioning: Versioning
    node: NodeName


class Piece(NamedTuple):
    """A run of chunks to fetch.

    `references`: chunks that are here, and perhaps at the source, that the run can be compressed against.
    With them, the run's bytes and the references' are each at most `DELTA_BYTES_MAX`.
    """

    chunks: Sequence[ChunkRef]
    references: Sequence[ChunkRef] = ()


class Received(NamedTuple):
    """One frame. It is about `chunks` chunks of `pieces[piece]`, from the one at `first` on.

    `payload` has the form that `status` and `codec` say and is not verified: a CHUNK of codec PLAIN has the
    length asked for; any other is at most that long. It is good until the next delivery is asked for.
    """

    piece: int
    first: int
    chunks: int
    status: FrameStatus
    codec: Codec
    payload: memoryview


class Delivery(NamedTuple):
    """Frames that have arrived, in the order asked for; `wire_bytes` is all that was received for them."""

    frames: Sequence[Received]
    wire_bytes: int


class Removal(NamedTuple):
    """The version to delete, which must have that manifest."""

    bucket: BucketName
    object_id: ObjectId
    version: VersionId
    manifest: Digest


class Traffic(NamedTuple):
    """Bytes that went over the connections of a peer, everything counted."""

    received: int
    sent: int


class Peer(Protocol):
    """Another node, as the source of a pull. Blocking; one thread at a time, except for `close`.

    A peer is not trusted. What comes back has the form asked for and at most the length asked for; its
    content is for the caller to verify. Every wait has a deadline, name resolution included: silence for
    the timeout, and a rate below the least one, are `Unavailable`.

    Raises, in every method:
        PeerUnreachable: no connection, or none within the deadline.
        Unavailable: it answered that it cannot now, fell silent, or the connection broke.
        BrokenPeer: it broke the protocol.
        Cancelled: `close` was called.
    """

    def hello(self) -> NodeName:
        """What the node says it is called."""
        ...

    def buckets(self, after: str, limit: int) -> list[BucketName]:
        """The names of its buckets that follow `after`, in byte order, at most `limit` (1 to 1,024)."""
        ...

    def listing(self, stretch: Stretch, *, limit: int, digest_only: bool = False) -> Listing:
        """The first `limit` keys (1 to 4,096) of a stretch. Raises `NotFound` where there is no such bucket."""
        ...

    def offers(self, wanted: Sequence[Wanted], *, hold_s: int) -> list[Offer | ReplicatorError]:
        """For each of `wanted` (1 to 256) its version, or why there is none (`NotFound`, `IsDeleteMarker` …).

        Each manifest matches its digest. What is offered is not reclaimed at the source for `hold_s`
        seconds (at most 600); asking again begins that time anew, of the manifest that `Wanted` names too, whatever
        the answer is: a version that was overwritten is `NotFound`, and what was offered of it stays on.
        `TooLarge` stands for those whose manifests did not fit into this answer, never for the first: ask for
        them again.
        """
        ...

    def page(self, manifest: Manifest, index: int) -> bytes:
        """Page `index`, unchecked, at most `PAGE_BYTES_MAX` long. Raises `NotFound`."""
        ...

    def missing(self, digests: Sequence[Digest]) -> list[bool]:
        """For each of `digests` (1 to 4,096) whether the node lacks that chunk."""
        ...

    def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
        """The chunks of `pieces` (1 to 4,096 chunks in all), in deliveries of about a mebibyte.

        One frame for each chunk, or one DELTA frame for all of a piece that has references. A MISSING frame
        says that the source lacks the chunk; behind a CORRUPT one, which says that it is damaged there,
        nothing follows.

        Args:
            compress: the source may compress single chunks.
        """
        ...

    def prove(self, wanted: Sequence[Wanted], *, size_bytes: int) -> list[Digest | ReplicatorError]:
        """For each of `wanted` (1 to 256) the manifest whose every byte was just read and matches, or an error.

        Args:
            size_bytes: of all of them together; it decides how long the answer may take, see `proving.patience_s`.
        """
        ...

    def remove(self, removals: Sequence[Removal]) -> list[ReplicatorError | None]:
        """Delete versions (1 to 256) for good; None for each that is gone, `Conflict` for another manifest."""
        ...

    @property
    def traffic(self) -> Traffic:
        """So far. Any thread may ask."""
        ...

    def close(self) -> None:
        """Drop the connection; a thread that waits on it gets an error. Any thread may call it."""
        ...


OpenPeer = Callable[[TaskSource], Peer]
"""A peer for a source, by the transport that both sides speak. Does not connect yet."""
