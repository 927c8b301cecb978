"""A catalog in memory that loses, as a power cut makes a real one lose, what was not synced."""

from __future__ import annotations

from replicator.data_plane.storage.catalog import Batch
from replicator.data_plane.storage.memory_catalog import MemoryCatalog


class CatalogCut(Exception):
    """The process has died at this call to its catalog."""


class RollingCatalog(MemoryCatalog):
    """`Catalog` that remembers the batches since its last sync.

    Attributes:
        calls: how many writes and syncs there were.
        dies_at: the write or sync that raises `CatalogCut` without having had any effect; 0 for none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.dies_at = 0
        self._history: list[Batch] = []
        self._synced = 0

    def write(self, batch: Batch) -> None:
        """See `Catalog.write`."""
        self._count()
        super().write(batch)
        self._history.append(batch)

    def sync(self) -> None:
        """See `Catalog.sync`."""
        self._count()
        self._synced = len(self._history)

    @property
    def unsynced(self) -> int:
        """How many batches a power cut may take."""
        return len(self._history) - self._synced

    def after_power_cut(self, lost: int) -> RollingCatalog:
        """The catalog as it is without its last `lost` batches, at most `unsynced`."""
        left = RollingCatalog()
        for batch in self._history[: len(self._history) - lost]:
            left.write(batch)
        left.sync()
        left.calls = 0
        return left

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.dies_at:
            raise CatalogCut(f"at call {self.calls}")
