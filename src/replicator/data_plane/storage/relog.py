"""Writing to the log again what the catalog still knows of a record that is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from replicator.data_plane.ports import Added
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.committer import Group
from replicator.data_plane.storage.rows import Place
from replicator.data_plane.storage.standing import Named
from replicator.kernel.digest import Digest
from replicator.kernel.names import BucketName


@dataclass(slots=True)
class Relog:
    """Write the entry to the log again that a row of the catalog is about, if its record is still at `place`.

    Its lsn is new: should the damaged record ever be read again, the new one is the true one. A manifest that is
    retired is left alone, because collection is about to forget it.

    Attributes:
        done: whether anything was written.
    """

    grows: ClassVar[bool] = True
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = ()
    named: Named
    place: Place
    done: bool = False

    def apply(self, group: Group, _: Added) -> None:
        """Entries: the one."""
        family, key = self.named
        match family:
            case "manifests":
                self.done = self._manifest(group, Digest(key))
            case "pages":
                self.done = self._page(group, key)
            case "versions":
                self.done = self._version(group, key)
            case "buckets":
                self.done = self._bucket(group, BucketName(key.decode()))

    def _manifest(self, group: Group, digest: Digest) -> bool:
        row = group.manifest(digest)
        if row is None or row.place != self.place or row.retired_ms:
            return False
        group.log_manifest(row.manifest, row.number)
        return True

    def _page(self, group: Group, key: bytes) -> bool:
        number, index = rows.decode_page_key(key)
        row = group.catalog.get("pages", key)
        if row is None or group.page_place(number, index) != self.place:
            return False
        group.log_page(number, index, rows.decode_page_row(row).encoded)
        return True

    def _version(self, group: Group, key: bytes) -> bool:
        row = group.catalog.get("versions", key)
        if row is None:
            return False
        version = rows.decode_version(key, row)
        found = group.version(version.bucket, version.object_id, version.version)
        if found is None or found[1] != self.place:
            return False
        group.log_version(found[0])
        # Drops of this version will be about another segment, and are needed while the damaged one exists.
        group.batch.put("meta", rows.copied_key(self.place.segment), b"")
        return True

    def _bucket(self, group: Group, name: BucketName) -> bool:
        row = group.bucket(name)
        if row is None or row.place != self.place:
            return False
        group.log_bucket(row.bucket, removed=row.removed)
        return True
