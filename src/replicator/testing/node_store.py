"""A data folder whose store a test opens, closes, damages and opens again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from replicator.data_plane.storage.catalog import Catalog
from replicator.data_plane.storage.codec import ChunkCompressor
from replicator.data_plane.storage.memory_catalog import MemoryCatalog
from replicator.data_plane.storage.rocks_catalog import RocksCatalog
from replicator.data_plane.storage.store import NodeStore, OpenedStore, open_store
from replicator.kernel.chunker import Chunking
from replicator.kernel.errors import StoreFailed
from replicator.testing.clock import FrozenClock
from replicator.testing.objects import TINY_CHUNKING

CACHE_BYTES = 1024 * 1024


class StoreFolder:
    """The store in the folder `path`, with small settings and a clock that stands still.

    Args:
        compressor: for the next opening.
        open_catalog: None keeps the catalog in memory; it outlives the store, so the store can be opened again.
    """

    def __init__(
        self,
        path: Path,
        *,
        open_catalog: Callable[[str], Catalog] | None = None,
        segment_bytes_max: int = 1024 * 1024,
        reserve_bytes: int = 0,
        node_name: str = "node1",
        chunking: Chunking = TINY_CHUNKING,
        compressor: ChunkCompressor | None = None,
    ) -> None:
        memory = MemoryCatalog()
        self.path = path
        self.clock = FrozenClock()
        self.compressor = compressor
        self._chunking = chunking
        self.failures: list[StoreFailed] = []
        self.open_catalog: Callable[[str], Catalog] = open_catalog or (lambda _: memory)
        self._segment_bytes_max = segment_bytes_max
        self._reserve_bytes = reserve_bytes
        self._node_name = node_name

    def open(self) -> OpenedStore:
        """Open the store; raises what `open_store` raises."""
        return open_store(
            str(self.path),
            node_name=self._node_name,
            open_catalog=self.open_catalog,
            clock=self.clock,
            segment_bytes_max=self._segment_bytes_max,
            reserve_bytes=self._reserve_bytes,
            on_failure=self.failures.append,
            chunking=self._chunking,
            compressor=self.compressor,
        )

    @contextmanager
    def opened(self) -> Iterator[NodeStore]:
        """The store, closed at the end. What was added and not committed is then as after kill -9."""
        opened = self.open()
        try:
            yield opened.store
        finally:
            opened.close()

    def segment(self, number: int = 1) -> Path:
        """The file of a segment."""
        return self.path / "segments" / f"{number:08d}.segment"

    def segments(self) -> list[str]:
        """The names of all segment files."""
        return sorted(os.listdir(self.path / "segments"))


def rocks(path: str) -> RocksCatalog:
    """A small catalog on RocksDB."""
    return RocksCatalog(path, cache_bytes=CACHE_BYTES)
