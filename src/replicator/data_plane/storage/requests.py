"""The changes that the committer knows: each puts its rows into the group's batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from replicator.data_plane.ports import Added, Committed, Condition, NewVersion, Version
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.committer import NOTHING_ADDED, Group
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Conflict, NotFound
from replicator.kernel.manifest import ChunkRef, decode_detached_page
from replicator.kernel.names import BucketName, ObjectId

_NO_CHUNKS: tuple[tuple[Digest, bytes], ...] = ()


@dataclass(slots=True)
class CommitVersion:
    """Make a version the latest of its object."""

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
        """Rows: manifest and its references where it is new, version, reference, end of staging."""
        new = self.new
        current = group.head(new.bucket, new.object_id)
        new.condition.check(current)
        if current is not None and new.version is not None:
            if current.version == new.version and current.manifest == new.manifest.digest:
                return Committed(current, added)
            if current.version >= new.version:
                raise Conflict(
                    f"this node holds a newer version of '{new.object_id}'; "
                    "delete it here first if the older one is to replace it",
                    object_id=str(new.object_id),
                    version=str(current.version),
                )
        version = Version(
            bucket=new.bucket,
            object_id=new.object_id,
            version=group.version_id(new.version),
            manifest=new.manifest.digest,
            size=new.manifest.size,
            chunk_count=new.manifest.chunk_count,
            content_type=new.content_type,
        )
        self._store_manifest(group)
        batch = group.batch
        if current is not None:
            _remove(group, current)
        batch.put("versions", rows.version_key(version), rows.encode_version_row(version))
        batch.put("manifests", rows.manifest_ref_key(version.manifest, version.version), b"")
        group.set_head(new.bucket, new.object_id, version)
        return Committed(version, added, current)

    def _store_manifest(self, group: Group) -> None:
        manifest = self.new.manifest
        if group.has_manifest(manifest.digest):
            return
        batch = group.batch
        for ref in manifest.entries:
            batch.put("chunks", rows.chunk_ref_key(ref.digest, self.manifest_number), b"")
        batch.put("manifests", manifest.digest, rows.encode_manifest_row(manifest, self.manifest_number))
        group.use_number(self.manifest_number)
        batch.delete("meta", rows.staged_key(self.manifest_number))
        group.set_manifest(manifest.digest, self.manifest_number)
        self.staging_used = True


@dataclass(slots=True)
class DeleteVersion:
    """Remove the latest version of an object."""

    grows: ClassVar[bool] = False
    bucket: BucketName
    object_id: ObjectId
    condition: Condition
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS

    def apply(self, group: Group, _: Added) -> Committed:
        """Rows: version and its reference go."""
        current = group.head(self.bucket, self.object_id)
        if current is None:
            raise NotFound(f"there is no object '{self.object_id}'", object_id=str(self.object_id))
        self.condition.check(current)
        _remove(group, current)
        group.set_head(self.bucket, self.object_id, None)
        return Committed(current, NOTHING_ADDED)


@dataclass(slots=True)
class StagePage:
    """Keep a page of a manifest that is not whole yet."""

    grows: ClassVar[bool] = True
    number: int
    index: int
    encoded: bytes
    entries: Sequence[ChunkRef]
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS

    def apply(self, group: Group, _: Added) -> None:
        """Rows: the page, its references, and the mark that makes a restart undo them."""
        batch = group.batch
        batch.put("meta", rows.staged_key(self.number), b"")
        group.use_number(self.number)
        batch.put("pages", rows.page_key(self.number, self.index), self.encoded)
        for ref in self.entries:
            batch.put("chunks", rows.chunk_ref_key(ref.digest, self.number), b"")


@dataclass(slots=True)
class DiscardPage:
    """Undo one staged page, or the staging itself once no page is left; `done` then says so."""

    grows: ClassVar[bool] = False
    number: int
    done: bool = False
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS

    def apply(self, group: Group, _: Added) -> None:
        """Rows: a page and its references go; with no page left, the mark goes."""
        if not group.is_staged(self.number):
            self.done = True
            return
        page = next(group.catalog.scan("pages", rows.pages_prefix(self.number)), None)
        if page is None:
            group.batch.delete("meta", rows.staged_key(self.number))
            self.done = True
            return
        for ref in decode_detached_page(page[1]):
            group.batch.delete("chunks", rows.chunk_ref_key(ref.digest, self.number))
        group.batch.delete("pages", page[0])


@dataclass(slots=True)
class Checkpoint:
    """Make everything pending durable; changes nothing else."""

    grows: ClassVar[bool] = True
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS

    def apply(self, _: Group, __: Added) -> None:
        """No rows of its own."""


@dataclass(slots=True)
class SetRow:
    """Set or remove one row of the family `meta`."""

    grows: ClassVar[bool] = False
    key: bytes
    row: bytes | None
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = _NO_CHUNKS

    def apply(self, group: Group, _: Added) -> None:
        """That row."""
        if self.row is None:
            group.batch.delete("meta", self.key)
        else:
            group.batch.put("meta", self.key, self.row)


def _remove(group: Group, version: Version) -> None:
    group.batch.delete("versions", rows.version_key(version))
    group.batch.delete("manifests", rows.manifest_ref_key(version.manifest, version.version))
