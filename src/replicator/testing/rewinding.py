"""A catalog in memory that goes back to what it held earlier, as after a power cut, and a store around it."""

from __future__ import annotations

import shutil
from pathlib import Path

from replicator.data_plane.storage.catalog import Batch, Family
from replicator.data_plane.storage.memory_catalog import MemoryCatalog
from replicator.kernel.errors import StoreFailed
from replicator.testing.catalog_state import Rows, require_consistent, require_exact_accounts, rows_but_times
from replicator.testing.changes import wait_for_discards
from replicator.testing.node_store import StoreFolder

Moment = dict[Family, dict[bytes, bytes]]


class RewindableCatalog(MemoryCatalog):
    """Remembers what it held after each write since the last sync: a power cut may leave any of these.

    Attributes:
        moments: oldest first; the last is what it holds now.
        writes_left: how many more writes it takes; None for as many as come.
        applies_the_failing: whether the write that fails is there all the same.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[Moment] = [self._copy()]
        self.writes_left: int | None = None
        self.applies_the_failing = False

    def write(self, batch: Batch) -> None:
        """See `Catalog.write`."""
        if self.writes_left == 0:
            if self.applies_the_failing:
                self._write(batch)
            raise StoreFailed("the process dies at this write")
        if self.writes_left is not None:
            self.writes_left -= 1
        self._write(batch)

    def sync(self) -> None:
        """See `Catalog.sync`."""
        if self.writes_left != 0:
            del self.moments[:-1]

    def rewind(self, moment: Moment) -> None:
        """Hold what was held at `moment`, and take writes again."""
        self._rows = {family: dict(rows) for family, rows in moment.items()}
        self.moments = [self._copy()]
        self.writes_left = None

    def _write(self, batch: Batch) -> None:
        super().write(batch)
        self.moments.append(self._copy())

    def _copy(self) -> Moment:
        return {family: dict(rows) for family, rows in self._rows.items()}


class PowerCut:
    """A store whose catalog can go back, and the segments as they are when it does.

    Attributes:
        moments: what a power cut at `stop` may leave of the catalog, oldest first.
    """

    def __init__(self, path: Path, *, segment_bytes_max: int = 3000) -> None:
        self.catalog = RewindableCatalog()
        self.folder = StoreFolder(
            path / "node", open_catalog=lambda _: self.catalog, segment_bytes_max=segment_bytes_max
        )
        self.moments: list[Moment] = []
        self._kept = path / "kept"

    def stop(self) -> None:
        """From here on `back` leads to what there is now, with an earlier catalog."""
        self.moments = list(self.catalog.moments)
        shutil.copytree(self.folder.path / "segments", self._kept)

    def back(self, moment: Moment) -> None:
        """The machine lost its power: every segment is whole, and the catalog as it was at `moment`."""
        shutil.rmtree(self.folder.path / "segments")
        shutil.copytree(self._kept, self.folder.path / "segments")
        self.catalog.rewind(moment)

    def rows_once_opened(self) -> Rows:
        """Open the store, let it tidy up, and close it."""
        with self.folder.opened() as store:
            wait_for_discards(store, self.catalog)
            require_exact_accounts(self.catalog, store.accounts)
            require_consistent(self.catalog)
        return rows_but_times(self.catalog)
