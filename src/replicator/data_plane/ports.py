"""What the parts of a node need of each other, and the values they pass."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from replicator.kernel.chunker import Chunking
from replicator.kernel.digest import Digest
from replicator.kernel.errors import PreconditionFailed, ReplicatorError
from replicator.kernel.manifest import ChunkRef, Manifest
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionId

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Versioning(enum.StrEnum):
    """What a write leaves of the version before it (S3's three states).

    In a bucket that is `OFF` or `SUSPENDED` each write makes the object's *null version*, which replaces the
    null version before it. In one that is `ON` nothing is replaced.
    """

    OFF = "off"
    ON = "on"
    SUSPENDED = "suspended"


class Bucket(NamedTuple):
    """What holds objects; `created_ms` since the Unix epoch."""

    name: BucketName
    versioning: Versioning
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One committed version of an object; `size` in bytes.

    Attributes:
        null: the next write to an unversioned bucket replaces it.
    """

    bucket: BucketName
    object_id: ObjectId
    version: VersionId
    manifest: Digest
    size: int
    chunk_count: int
    content_type: str
    null: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteMarker:
    """Says, where it is the newest, that the object is deleted although older versions are kept."""

    bucket: BucketName
    object_id: ObjectId
    version: VersionId
    null: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What must hold of the latest version at the moment of commit (RFC 9110, section 13).

    Attributes:
        manifests: it must have one of these; None for any.
        refused: it must have none of these.
    """

    must_exist: bool = False
    must_be_absent: bool = False
    manifests: frozenset[Digest] | None = None
    refused: frozenset[Digest] = frozenset()

    def check(self, current: Version | None) -> None:
        """Raises `PreconditionFailed` where `current`, the latest version, does not fit."""
        if current is None:
            if self.must_exist or self.manifests is not None:
                raise PreconditionFailed("the object does not exist")
            return
        if self.must_be_absent:
            raise PreconditionFailed("the object exists already", version=str(current.version))
        if self.manifests is not None and current.manifest not in self.manifests:
            raise PreconditionFailed("the object has another entity tag by now", version=str(current.version))
        if current.manifest in self.refused:
            raise PreconditionFailed("the object has this entity tag already", version=str(current.version))


UNCONDITIONAL = Condition()


class Added(NamedTuple):
    """What an addition of chunks brought: only what was not there before counts."""

    chunks: int
    bytes: int


class Committed(NamedTuple):
    """A version that is durable, what its inline chunks brought, and the null version it took the place of."""

    version: Version
    added: Added
    replaced: Version | None = None


class Deleted(NamedTuple):
    """What a delete did: the version or marker that is gone, and the marker that was made."""

    removed: Version | DeleteMarker | None
    marker: DeleteMarker | None


class Listing(NamedTuple):
    """A page of a bucket, each list in byte order.

    Attributes:
        prefixes: what ids have in common up to and with the delimiter; their objects are not in `versions`.
        after: pass it to go on; None at the end.
    """

    versions: list[Version]
    prefixes: list[str]
    after: str | None


class Scanned(NamedTuple):
    """A version as listings are compared; `size` in bytes. `manifest` is empty for a delete marker.

    Plain text and bytes, because a scan makes a million of them.
    """

    object_id: str
    version: bytes
    manifest: bytes
    size: int


class Hold:
    """Chunks and manifests that may not be reclaimed because work in progress relies on them.

    Made by `Store.hold`; a context manager. What `add` and `locate` found for it, and what it pinned, stays
    until it is cleared or closed. Held in memory: nothing outlives the process.

    Attributes:
        purpose: what the work is, for people.
    """

    __slots__ = ("_close", "chunks", "manifests", "purpose")

    def __init__(self, purpose: str, close: Callable[[Hold], None]) -> None:
        self.purpose = purpose
        self.chunks: set[Digest] = set()
        self.manifests: set[Digest] = set()
        self._close = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything; again does no harm."""
        self._close(self)


Settle = Callable[[Committed | None, ReplicatorError | None], None]
"""Called once, from the committer's thread: must be quick and may not raise."""

SettleDeleted = Callable[[Deleted | None, ReplicatorError | None], None]
"""The same for a delete."""


@dataclass(slots=True, kw_only=True)
class NewVersion:
    """A version to commit.

    Attributes:
        manifest: every chunk it names, here or in staged pages, has been added or is in `chunks`.
        chunks: chunks that are not added yet; they become durable with the version.
        manifest_number: from `Store.stage` where pages were staged, else None.
        version: the id it has on the node it comes from; None makes a new one.
        shares: the manifest, with all it names, is here already; `NotFound` where it no longer is.
    """

    object_id: ObjectId
    bucket: BucketName
    manifest: Manifest
    content_type: str
    chunks: Sequence[tuple[Digest, Buffer]] = ()
    manifest_number: int | None = None
    version: VersionId | None = None
    condition: Condition = UNCONDITIONAL
    shares: bool = False


class ChunkReader(Protocol):
    """Reads chunks."""

    def locate(
        self, digests: Sequence[Digest], *, intact: bool = False, hold: Hold | None = None
    ) -> list[int | None]:
        """The length in bytes of each chunk, None for those that are not here.

        Args:
            intact: None also for those whose last read failed its check.
            hold: keeps those that are here.
        """
        ...

    def read(self, refs: Sequence[ChunkRef], *, wait: bool = True, gap: int = 0) -> memoryview:
        """The bytes of `refs` one after the other, each record checked against its checksum.

        Args:
            refs: at most a few mebibytes together: all of it is held in memory.
            wait: False gives up with `BlockingIOError` where the bytes are not in the page cache.
            gap: how many zero bytes to leave before each chunk, for a caller that frames them.

        Raises:
            NotFound: a chunk is not here.
            Corrupt: a record fails its check; `data["digest"]` names it. None of the bytes are returned.
        """
        ...


class Store(ChunkReader, Protocol):
    """A node's store. Every method may be called from any thread.

    Durability: what `commit`, `delete` and the changes of buckets have settled without an error survives
    kill -9 and power loss. What `add` took is readable at once and durable after the next commit or
    `checkpoint` that follows it. A chunk that no version refers to and no hold keeps is reclaimed in time.

    Raises, in every method that writes: `StoreFailed` after a failed write or sync, until the process is
    restarted; `QuotaExceeded` while the disk is full.
    """

    def hold(self, purpose: str) -> Hold:
        """Begin to keep chunks and manifests for some work; the caller closes it."""
        ...

    def add(self, chunks: Sequence[tuple[Digest, Buffer]], hold: Hold | None = None) -> Added:
        """Append the chunks that are not here, or damaged; `hold` keeps all of them.

        The caller has verified each against its digest.
        """
        ...

    def checkpoint(self) -> None:
        """Returns once everything added before the call is durable."""
        ...

    def stage(self) -> int:
        """A number for a manifest whose pages will be staged; see `stage_page`."""
        ...

    def stage_page(self, number: int, index: int, encoded: bytes, entries: Sequence[ChunkRef]) -> None:
        """Keep page `index` of manifest `number`; returns once it and the chunks it names are durable.

        The page now refers to its chunks, so no hold is needed for them any more. Staged pages belong to no
        version until `commit` names their number. `discard`, and a restart, undo them.
        """
        ...

    def discard(self, number: int) -> None:
        """Undo what is staged under `number`; returns at once, the work follows.

        Once `commit` has taken the number nothing is staged under it any more, and nothing happens.
        """
        ...

    def commit(self, new: NewVersion, settle: Settle) -> None:
        """Make a version of an object, atomically; `settle` hears how it went.

        A new id becomes the latest. An id that comes from another node is committed as it is, in the place
        its order gives it: so nodes that have the same versions agree on the latest, in whatever order they
        came. Committing an id that is here already changes nothing and succeeds; with another manifest it is a
        `Conflict`. So is a null version that is older than the null version or marker that is here.

        Settles with: NotFound (no such bucket; no such manifest, where it `shares`), PreconditionFailed,
        Conflict, QuotaExceeded, StoreFailed.
        """
        ...

    def delete(
        self,
        bucket: BucketName,
        object_id: ObjectId,
        condition: Condition,
        settle: SettleDeleted,
        *,
        version: VersionId | None = None,
    ) -> None:
        """Delete an object, or for good the one `version` or marker of it.

        Without `version`: where versions are kept the object gets a delete marker, else its null version
        goes. `condition` is held against the latest version, or against the one named.

        Settles with: NotFound (bucket, object or version; an object whose newest version is a marker is not
        there), PreconditionFailed, StoreFailed.
        """
        ...

    def head(self, bucket: BucketName, object_id: ObjectId) -> Version | None:
        """The latest version; None where there is none or the newest is a delete marker."""
        ...

    def version(
        self, bucket: BucketName, object_id: ObjectId, version: VersionId
    ) -> Version | DeleteMarker | None:
        """One version of an object."""
        ...

    def versions(
        self, bucket: BucketName, object_id: ObjectId, after: VersionId | None, limit: int
    ) -> list[Version | DeleteMarker]:
        """Versions and delete markers of an object that are older than `after`, newest first."""
        ...

    def bucket_versions(
        self, bucket: BucketName, prefix: str, after: tuple[ObjectId, VersionId] | None, limit: int
    ) -> list[Version | DeleteMarker]:
        """All versions and delete markers of a bucket whose ids begin with `prefix`, at most `limit`.

        In byte order of the ids, of each object the newest first; those that follow `after`. What a page
        costs depends on `limit` alone.

        Raises:
            NotFound: no such bucket.
        """
        ...

    def list_objects(
        self, bucket: BucketName, prefix: str, *, delimiter: str = "", after: str | None = None, limit: int
    ) -> Listing:
        """Latest versions of objects whose ids begin with `prefix` and follow `after`, at most `limit`.

        With a delimiter, ids that hold it behind the prefix are grouped; a group counts as one, and one that
        `after` is in has been listed. What a page costs depends on `limit` alone.

        Raises:
            NotFound: no such bucket.
        """
        ...

    def scan(
        self, bucket: BucketName, prefix: str, *, after: str = "", until: str = "", all_versions: bool = False
    ) -> Iterator[Scanned]:
        """The latest versions of objects whose ids begin with `prefix`, or all versions and delete markers.

        In byte order of the ids, of each object the newest first: the objects whose ids follow `after`, up to and
        with `until`, unless that is empty. No bound may hold a NUL. Sees one moment, and costs a fraction of
        `list_objects`.

        Raises:
            NotFound: no such bucket.
        """
        ...

    def bucket(self, name: BucketName) -> Bucket:
        """One bucket; `default` always exists. Raises `NotFound`."""
        ...

    def buckets(self, after: BucketName | None, limit: int) -> list[Bucket]:
        """Buckets whose names follow `after`, in byte order."""
        ...

    def set_bucket(self, name: BucketName, versioning: Versioning) -> Bucket:
        """Make a bucket, or change its versioning; returns once that is durable.

        Raises:
            Conflict: it was `ON` or `SUSPENDED`, and cannot become `OFF` again.
        """
        ...

    def remove_bucket(self, name: BucketName) -> None:
        """Remove an empty bucket; returns once that is durable.

        Raises:
            NotFound: no such bucket.
            Conflict: it holds versions or delete markers, or is `default`.
        """
        ...

    def pin(self, digest: Digest, hold: Hold) -> Manifest:
        """A manifest's root; it and all it names stay until `hold` is closed. Raises `NotFound`."""
        ...

    def manifest(self, digest: Digest) -> Manifest:
        """A manifest's root; raises `NotFound`, `Corrupt`."""
        ...

    def page(self, manifest: Manifest, index: int) -> bytes:
        """The encoded page `index` of a manifest that is here; raises `NotFound`, `Corrupt`."""
        ...

    def entries(self, manifest: Manifest, first_page: int = 0) -> Iterator[Sequence[ChunkRef]]:
        """The chunk references from page `first_page` on, a page at a time; checks each page's digest."""
        ...

    def outbox(self) -> list[tuple[int, int, bytes]]:
        """(task id, epoch, payload) of what was posted and not withdrawn, at most 256 of them."""
        ...

    def post(self, task_id: int, epoch: int, payload: bytes) -> None:
        """Keep `payload` until it is withdrawn; returns once it is durable."""
        ...

    def withdraw(self, task_id: int, epoch: int) -> None:
        """Drop what was posted; no harm if nothing was.

        Returns at once. It is gone with the next commit, and a restart before that brings it back.
        """
        ...

    def require_writable(self) -> None:
        """Raises `StoreFailed` where the store takes no more writes."""
        ...

    @property
    def has_damage(self) -> bool:
        """Whether a chunk is known that failed its last read, and that no good copy has replaced since.

        Survives a restart. Damage that neither a read nor the scrub has met yet is not known.
        """
        ...

    @property
    def chunking(self) -> Chunking:
        """How uploads to this store are cut."""
        ...
