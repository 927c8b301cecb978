"""What work in progress relies on, and what is being reclaimed: each decided against the other.

A lock of its own, which nobody keeps while a disk works: holds are taken on the event loop. A chunk is dropped, or
a manifest retired, only where no hold names it, and counts as gone from that same moment; so whoever names it
in a hold first keeps it, and whoever looks for it afterwards does not find it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from replicator.data_plane.ports import Hold
from replicator.kernel.digest import Digest
from replicator.kernel.errors import NotFound


class Holds:
    """The holds of one store. Thread-safe.

    Attributes:
        dropped: chunks that count as gone although the catalog may still name them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Hold] = set()
        self._retired: set[Digest] = set()
        self.dropped: frozenset[Digest] = frozenset()

    def hold(self, purpose: str) -> Hold:
        """See `Store.hold`."""
        hold = Hold(purpose, self._let_go)
        with self._lock:
            self._open.add(hold)
        return hold

    def all(self) -> list[Hold]:
        """Those that are not closed."""
        with self._lock:
            return list(self._open)

    def keep(self, digests: Iterable[Digest], hold: Hold) -> set[Digest]:
        """Keep chunks, be they here or not; returns those that the hold did not name before."""
        with self._lock:
            new = set(digests) - hold.chunks
            hold.chunks |= new
            return new

    def pin(self, manifest: Digest, hold: Hold) -> None:
        """Keep a manifest from being retired. Raises `NotFound` where it is too late for that."""
        with self._lock:
            if manifest in self._retired:
                raise NotFound(f"there is no manifest {manifest}", digest=str(manifest))
            hold.manifests.add(manifest)

    def drop(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those chunks that nobody holds; they count as gone until `settle`."""
        with self._lock:
            free = [digest for digest in digests if not any(digest in hold.chunks for hold in self._open)]
            self.dropped = self.dropped.union(free)
            return free

    def retire(self, manifest: Digest) -> bool:
        """Whether nobody has pinned the manifest; nobody can from now on until `settle`."""
        with self._lock:
            if any(manifest in hold.manifests for hold in self._open):
                return False
            self._retired.add(manifest)
            return True

    def settle(self) -> None:
        """The catalog knows of what was dropped and retired, or it did not come to that."""
        with self._lock:
            self.dropped = frozenset()
            self._retired.clear()

    def _let_go(self, hold: Hold) -> None:
        with self._lock:
            self._open.discard(hold)
