"""The changes that the committer knows: each decides, and says so in the group's entries or rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from replicator.data_plane.ports import (
    Added,
    Bucket,
    Committed,
    Condition,
    Deleted,
    DeleteMarker,
    NewVersion,
    Version,
    Versioning,
)
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.committer import Group
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Conflict, NotFound
from replicator.kernel.manifest import ChunkRef
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.kernel.version import VersionId

_NO_CHUNKS: tuple[tuple[Digest, bytes], ...] = ()


@dataclass(slots=True)
class CommitVersion:
    """Make a version of an object."""

    grows: ClassVar[bool] = True
    new: NewVersion
    manifest_number: int
    staging_used: bool = False
    """Set by `apply`: what was staged under the number is now part of the store."""

    @property
    def chunks(self) -> Sequence[tuple[Digest, bytes]]:
        """The version's inline chunks."""
        return self.new.chunks  # type: ignore[return-value]

    def apply(self, group: Group, added: Added) -> Committed:
        """Entries: the manifest where it is new, the version, the drop of the null version it replaces."""
        new = self.new
        null = find_bucket(group, new.bucket).versioning != Versioning.ON
        newest = group.newest(new.bucket, new.object_id)
        current = newest if isinstance(newest, Version) else None
        new.condition.check(current)
        if new.version is not None and (known := self._known(group, new.version)) is not None:
            return Committed(known, added)
        replaced = group.null_version(new.bucket, new.object_id) if null else None
        if new.version is not None and replaced is not None and replaced > new.version:
            raise Conflict(
                f"this node holds a newer version of '{new.object_id}', and its bucket keeps no older ones; "
                "delete it here first, or turn versioning on",
                object_id=str(new.object_id),
                version=str(replaced),
            )
        self._log_manifest(group)
        version = Version(
            bucket=new.bucket,
            object_id=new.object_id,
            version=group.version_id(new.version),
            manifest=new.manifest.digest,
            size=new.manifest.size,
            chunk_count=new.manifest.chunk_count,
            content_type=new.content_type,
            null=null,
        )
        group.log_version(version)
        gone = drop(group, new.bucket, new.object_id, replaced)
        return Committed(version, added, gone if isinstance(gone, Version) else None)

    def _known(self, group: Group, version: VersionId) -> Version | None:
        found = group.version(self.new.bucket, self.new.object_id, version)
        if found is None:
            if group.is_referred_to(self.new.manifest.digest, version):
                # The two would have one reference, and the end of either would end both.
                raise Conflict(
                    f"version {version} of '{self.new.object_id}' is here as one of another object",
                    object_id=str(self.new.object_id),
                )
            return None
        known = found[0]
        if not isinstance(known, Version) or known.manifest != self.new.manifest.digest:
            raise Conflict(
                f"version {version} of '{self.new.object_id}' is here with other content",
                object_id=str(self.new.object_id),
            )
        return known

    def _log_manifest(self, group: Group) -> None:
        manifest = self.new.manifest
        if group.manifest(manifest.digest) is not None:
            return
        if self.new.shares or (manifest.pages and not group.is_staged(self.manifest_number)):
            raise NotFound(f"manifest {manifest.digest} is no longer here", digest=str(manifest.digest))
        group.require_chunks(manifest.entries)
        group.log_manifest(manifest, self.manifest_number)
        self.staging_used = True


@dataclass(slots=True)
class DeleteVersion:
    """Delete an object, or one version of it for good."""

    grows: ClassVar[bool] = False
    bucket: BucketName
    object_id: ObjectId
    condition: Condition
    version: VersionId | None = None
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS

    def apply(self, group: Group, _: Added) -> Deleted:
        """Entries: the drop of a version, or a delete marker and the drop of the null version it replaces."""
        versioning = find_bucket(group, self.bucket).versioning
        if self.version is not None:
            return self._drop_one(group, self.version)
        newest = group.newest(self.bucket, self.object_id)
        if not isinstance(newest, Version):
            raise NotFound(f"there is no object '{self.object_id}'", object_id=str(self.object_id))
        self.condition.check(newest)
        null = group.null_version(self.bucket, self.object_id) if versioning != Versioning.ON else None
        if versioning == Versioning.OFF:
            return Deleted(drop(group, self.bucket, self.object_id, null or newest.version), None)
        marker = DeleteMarker(
            bucket=self.bucket,
            object_id=self.object_id,
            version=group.version_id(None),
            null=versioning == Versioning.SUSPENDED,
        )
        group.log_version(marker)
        return Deleted(drop(group, self.bucket, self.object_id, null), marker)

    def _drop_one(self, group: Group, version: VersionId) -> Deleted:
        found = group.version(self.bucket, self.object_id, version)
        if found is None:
            raise NotFound(
                f"there is no version {version} of object '{self.object_id}'",
                object_id=str(self.object_id),
                version=str(version),
            )
        self.condition.check(found[0] if isinstance(found[0], Version) else None)
        return Deleted(drop(group, self.bucket, self.object_id, version), None)


def drop(
    group: Group, bucket: BucketName, object_id: ObjectId, version: VersionId | None
) -> Version | DeleteMarker | None:
    """Log the drop of a version; returns what it was."""
    found = None if version is None else group.version(bucket, object_id, version)
    if found is None:
        return None
    group.log_drop(*found)
    return found[0]


def find_bucket(group: Group, name: BucketName) -> Bucket:
    """A bucket; raises `NotFound`."""
    return require_bucket(group.bucket(name), name)


def require_bucket(row: rows.BucketRow | None, name: BucketName) -> Bucket:
    """The bucket of a row that may be missing; `default` always exists. Raises `NotFound`."""
    if row is not None and not row.removed:
        return row.bucket
    if name == DEFAULT_BUCKET:
        return Bucket(DEFAULT_BUCKET, Versioning.OFF, 0)
    raise NotFound(f"there is no bucket '{name}' on this node", bucket=str(name))


@dataclass(slots=True)
class SetBucket:
    """Make a bucket, or change its versioning."""

    grows: ClassVar[bool] = True
    name: BucketName
    versioning: Versioning
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS

    def apply(self, group: Group, _: Added) -> Bucket:
        """Entries: the bucket, unless it is as wanted."""
        row = group.bucket(self.name)
        if row is None or row.removed:
            bucket = Bucket(self.name, self.versioning, group.wall_ms)
        else:
            bucket = row.bucket._replace(versioning=self.versioning)
            if bucket == row.bucket:
                return bucket
            if self.versioning == Versioning.OFF:
                raise Conflict(
                    f"bucket '{self.name}' keeps versions already: suspend versioning instead",
                    bucket=str(self.name),
                )
        group.log_bucket(bucket)
        return bucket


@dataclass(slots=True)
class RemoveBucket:
    """Remove an empty bucket."""

    grows: ClassVar[bool] = False
    name: BucketName
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS

    def apply(self, group: Group, _: Added) -> None:
        """Entries: the bucket, as removed."""
        if self.name == DEFAULT_BUCKET:
            raise Conflict("the bucket 'default' cannot be removed", bucket=str(self.name))
        bucket = find_bucket(group, self.name)
        if group.holds_versions(self.name):
            raise Conflict(
                f"bucket '{self.name}' is not empty: GET /versions?bucket={self.name} lists the versions and delete "
                "markers to remove first",
                bucket=str(self.name),
            )
        group.log_bucket(bucket, removed=True)


@dataclass(slots=True)
class StagePage:
    """Keep a page of a manifest that is not whole yet."""

    grows: ClassVar[bool] = True
    number: int
    page: int
    encoded: bytes
    entries: Sequence[ChunkRef]
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS

    def apply(self, group: Group, _: Added) -> None:
        """Entries: the page."""
        group.require_chunks(self.entries)
        group.log_page(self.number, self.page, self.encoded)


@dataclass(slots=True)
class DiscardPage:
    """Undo one staged page, or the staging itself once no page is left; `done` then says so.

    Attributes:
        reclaims: the pages are of a manifest whose grace has passed, and chunks go with them. Otherwise they
            stay for a while: an upload or pull that is tried again need not bring them twice.
        died_bytes: of the records that nothing refers to any more.
    """

    grows: ClassVar[bool] = False
    number: int
    reclaims: bool = False
    done: bool = False
    died_bytes: int = 0
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS

    def apply(self, group: Group, _: Added) -> None:
        """Rows: a page and its references go; with no page left, the mark goes."""
        before = group.accounts.change_in_bytes
        orphans = group.discard_page(self.number)
        self.done = orphans is None
        self.died_bytes = before - group.accounts.change_in_bytes
        if orphans and self.reclaims:
            group.drop_chunks(orphans)


@dataclass(slots=True)
class Checkpoint:
    """Make everything pending durable; changes nothing else."""

    grows: ClassVar[bool] = True
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS

    def apply(self, _: Group, __: Added) -> None:
        """No rows of its own."""


@dataclass(slots=True)
class SetRow:
    """Set or remove one row of the family `meta`; `durable` where it may not be lost."""

    grows: ClassVar[bool] = False
    key: bytes
    row: bytes | None
    durable: bool = False
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS

    def apply(self, group: Group, _: Added) -> None:
        """That row."""
        group.must_sync |= self.durable
        if self.row is None:
            group.batch.delete("meta", self.key)
        else:
            group.batch.put("meta", self.key, self.row)
