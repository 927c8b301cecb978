"""What the parts of a node need of each other, and the values they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from replicator.kernel.chunker import Chunking
from replicator.kernel.digest import Digest
from replicator.kernel.errors import PreconditionFailed, ReplicatorError
from replicator.kernel.manifest import ChunkRef, Manifest
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionId

if TYPE_CHECKING:
    from typing_extensions import Buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One committed version of an object; `size` in bytes."""

    bucket: BucketName
    object_id: ObjectId
    version: VersionId
    manifest: Digest
    size: int
    chunk_count: int
    content_type: str


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
    """A version that is durable, what its inline chunks brought, and the version it took the place of."""

    version: Version
    added: Added
    replaced: Version | None = None


Settle = Callable[[Committed | None, ReplicatorError | None], None]
"""Called once, from the committer's thread: must be quick and may not raise."""


@dataclass(slots=True, kw_only=True)
class NewVersion:
    """A version to commit.

    Attributes:
        manifest: every chunk it names, here or in staged pages, has been added or is in `chunks`.
        chunks: chunks that are not added yet; they become durable with the version.
        manifest_number: from `Store.stage` where pages were staged, else None.
        version: the id it has on the node it comes from; None makes a new one.
    """

    object_id: ObjectId
    bucket: BucketName
    manifest: Manifest
    content_type: str
    chunks: Sequence[tuple[Digest, Buffer]] = ()
    manifest_number: int | None = None
    version: VersionId | None = None
    condition: Condition = UNCONDITIONAL


class ChunkReader(Protocol):
    """Reads chunks."""

    def locate(self, digests: Sequence[Digest], *, intact: bool = False) -> list[int | None]:
        """The length in bytes of each chunk, None for those that are not here.

        Args:
            intact: None also for those whose last read failed its check.
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

    Durability: what `commit` and `delete` have settled without an error survives kill -9 and power loss.
    What `add` took is readable at once and durable after the next commit or `checkpoint` that follows it.
    A chunk that was added stays, whether or not a version comes to refer to it.

    Raises, in every method that writes: `StoreFailed` after a failed write or sync, until the process is
    restarted; `QuotaExceeded` while the disk is full.
    """

    def add(self, chunks: Sequence[tuple[Digest, Buffer]]) -> Added:
        """Append the chunks that are not here, or damaged. The caller has verified each against its digest."""
        ...

    def checkpoint(self) -> None:
        """Returns once everything added before the call is durable."""
        ...

    def stage(self) -> int:
        """A number for a manifest whose pages will be staged; see `stage_page`."""
        ...

    def stage_page(self, number: int, index: int, encoded: bytes, entries: Sequence[ChunkRef]) -> None:
        """Keep page `index` of manifest `number`; returns once it and the chunks it names are durable.

        Staged pages belong to no version until `commit` names their number. `discard`, and a restart,
        undo them.
        """
        ...

    def discard(self, number: int) -> None:
        """Undo what is staged under `number`; returns at once, the work follows.

        Once `commit` has taken the number nothing is staged under it any more, and nothing happens.
        """
        ...

    def commit(self, new: NewVersion, settle: Settle) -> None:
        """Make a version the latest of its object, atomically; `settle` hears how it went.

        An id that comes from another node is committed as it is. Committing the very version that is the
        latest already changes nothing and succeeds; one older than the latest is a `Conflict`.

        Settles with: PreconditionFailed, Conflict, QuotaExceeded, StoreFailed.
        """
        ...

    def delete(self, bucket: BucketName, object_id: ObjectId, condition: Condition, settle: Settle) -> None:
        """Remove the latest version; settles with it, or with NotFound, PreconditionFailed, StoreFailed."""
        ...

    def head(self, bucket: BucketName, object_id: ObjectId) -> Version | None:
        """The latest version."""
        ...

    def scan(self, bucket: BucketName, prefix: str, after: str | None, limit: int) -> list[Version]:
        """Latest versions of objects whose ids begin with `prefix` and follow `after`, in byte order."""
        ...

    def manifest(self, digest: Digest) -> Manifest:
        """A manifest's root; raises `NotFound`, `Corrupt`."""
        ...

    def page(self, manifest: Manifest, index: int) -> bytes:
        """The encoded page `index` of a manifest that is here; raises `NotFound`."""
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

        Survives a restart. Damage that no read has met yet is not known.
        """
        ...

    @property
    def chunking(self) -> Chunking:
        """How uploads to this store are cut."""
        ...
