"""Collection: what no version has referred to for the time of grace is forgotten.

A manifest that loses its last version is marked as retiring in the same batch (`index`), so garbage is known
at once and nothing is searched for. Once the grace has passed and nobody pins it, it is forgotten together with
the references of its root, then its pages one by one; chunks that lose their last reference with them and that
nobody holds are here no longer. Their bytes are dead from then on, and compaction gives them back.

All of this is in the catalog alone. Where a power cut takes it back, the marks are back as well, and it is done
again; what depends on it, the removal of a segment, makes the catalog durable first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from replicator.data_plane.ports import Added
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.committer import Group, Request
from replicator.data_plane.storage.pace import Brake
from replicator.data_plane.storage.parts import StoreParts
from replicator.data_plane.storage.requests import DiscardPage
from replicator.data_plane.upkeep import Collected
from replicator.kernel.digest import Digest

MANIFESTS_PER_REQUEST_MAX = 64
OBJECT_BYTES_PER_REQUEST_MAX = 64 * 1024 * 1024
_Mark = tuple[int, Digest]


@dataclass(slots=True)
class RetireManifests:
    """Forget manifests that have retired at the given times, but for those that somebody pins.

    Attributes:
        retired: how many were forgotten.
        paged: the numbers of those whose pages are to be discarded.
        died_bytes: of the records that nothing refers to any more.
    """

    grows: ClassVar[bool] = False
    chunks: ClassVar[Sequence[tuple[Digest, bytes]]] = ()
    marks: Sequence[_Mark]
    retired: int = 0
    paged: list[int] = field(default_factory=list)
    died_bytes: int = 0

    def apply(self, group: Group, _: Added) -> None:
        """Rows: the manifests and all that they alone referred to go."""
        self.retired, self.paged = 0, []
        before = group.accounts.change_in_bytes
        for retired_ms, digest in self.marks:
            if not group.is_retired(digest, retired_ms):
                group.batch.delete("meta", rows.retiring_key(retired_ms, digest))
            elif group.tail.retirable(digest):
                self._retire(group, digest)
        self.died_bytes = before - group.accounts.change_in_bytes

    def _retire(self, group: Group, digest: Digest) -> None:
        row = group.manifest(digest)
        assert row is not None
        group.drop_chunks(group.retire(digest))
        self.retired += 1
        if row.manifest.pages:
            self.paged.append(row.number)


class Collector:
    """Collects in one store. A collection that is interrupted is taken up by the next one."""

    def __init__(self, parts: StoreParts) -> None:
        self._parts = parts
        self._paged: list[int] = []
        """Manifests that are forgotten, and whose pages are not discarded yet; a restart knows them as staged."""

    def retiring(self) -> tuple[int, int]:
        """How many manifests are retiring, and the bytes of the objects they were."""
        manifests = object_bytes = 0
        for _, row in self._parts.catalog.scan("meta", rows.RETIRING_PREFIX):
            manifests += 1
            object_bytes += rows.decode_number(row)
        return manifests, object_bytes

    def collect(self, *, grace_s: float, dry_run: bool, brake: Brake) -> Collected:
        """Forget what retired at least `grace_s` ago."""
        manifests = 0
        died_bytes = 0 if dry_run else self._discard_pages(brake)
        for marks in self._due(self._parts.clock.wall_ms() - round(grace_s * 1000)):
            if dry_run:
                manifests += len(marks)
                died_bytes += sum(size for _, size in marks)
                continue
            request = RetireManifests([mark for mark, _ in marks])
            self._commit(request, brake)
            manifests += request.retired
            died_bytes += request.died_bytes
            self._paged += request.paged
            died_bytes += self._discard_pages(brake)
        return Collected(manifests=manifests, dead_bytes=died_bytes, dry_run=dry_run)

    def _due(self, latest_ms: int) -> Iterator[list[tuple[_Mark, int]]]:
        """Marks of that time and before with the sizes of their objects, as many at once as one request takes."""
        some: list[tuple[_Mark, int]] = []
        some_bytes = 0
        for key, row in self._parts.catalog.scan("meta", rows.RETIRING_PREFIX):
            mark, size = rows.decode_retiring_key(key), rows.decode_number(row)
            if mark[0] > latest_ms:
                break
            some.append((mark, size))
            some_bytes += size
            if len(some) >= MANIFESTS_PER_REQUEST_MAX or some_bytes >= OBJECT_BYTES_PER_REQUEST_MAX:
                yield some
                some, some_bytes = [], 0
        if some:
            yield some

    def _discard_pages(self, brake: Brake) -> int:
        died_bytes = 0
        while self._paged:
            request = DiscardPage(self._paged[-1], reclaims=True)
            self._commit(request, brake)
            died_bytes += request.died_bytes
            if request.done:
                self._paged.pop()
        return died_bytes

    def _commit(self, request: Request, brake: Brake) -> None:
        brake.before(0)
        self._parts.commit(request)
        brake.after()
