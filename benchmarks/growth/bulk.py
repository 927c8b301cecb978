"""Rows straight into the files of a catalog, millions of them, without what makes single commits safe."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rocksdict import Cache, Options, Rdict, WriteBatch, WriteOptions

from replicator.data_plane.storage.catalog import FAMILIES, Family
from replicator.data_plane.storage.rocks_catalog import MEBIBYTE, database_options, family_options

_WRITE_BUFFER_BYTES = 64 * MEBIBYTE
_POLL_SECONDS = 0.5


class BulkRows:
    """The catalog in the folder `path`, with its own options; a context manager, whole once it has ended.

    Tables are left as they come until the end, and only then compacted, as far as the catalog's own options
    have it done: that takes a fraction of the work, and leaves the same shape.
    """

    def __init__(self, path: str) -> None:
        cache = Cache(64 * MEBIBYTE)
        options = database_options(path)
        options.set_db_write_buffer_size(0)
        families: dict[str, Options] = {family: family_options(family, cache) for family in FAMILIES}
        self._db = Rdict(path, options=options, column_families=families)
        self._families = {family: self._db.get_column_family(family) for family in FAMILIES}
        self._handles = {family: self._db.get_column_family_handle(family) for family in FAMILIES}
        self._unlogged = WriteOptions()
        self._unlogged.disable_wal = True  # type: ignore[assignment, method-assign, unused-ignore]
        self._batch = WriteBatch(raw_mode=True)

    def __enter__(self) -> Self:
        self._set(disable_auto_compactions="true", write_buffer_size=str(_WRITE_BUFFER_BYTES))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.write()
            for rows in self._families.values():
                rows.flush()
            self._set(disable_auto_compactions="false")
            self._wait_compacted()
        self._families.clear()
        self._handles.clear()
        self._db.close()

    def get(self, family: Family, key: bytes) -> bytes:
        """A row that has to be there."""
        row: bytes = self._families[family][key]  # type: ignore[assignment, unused-ignore]
        return row

    def put(self, family: Family, key: bytes, row: bytes) -> None:
        """Takes effect with the next `write`."""
        self._batch.put(key, row, self._handles[family])

    def write(self) -> None:
        """Write what was put."""
        batch, self._batch = self._batch, WriteBatch(raw_mode=True)
        self._db.write(batch, self._unlogged)

    def _set(self, **options: str) -> None:
        for rows in self._families.values():
            rows.set_options(options)

    def _wait_compacted(self) -> None:
        """Until nothing is left to do that RocksDB would do by itself."""
        idle = 0
        while idle < 3:
            time.sleep(_POLL_SECONDS)
            busy = any(
                rows.property_int_value("rocksdb.compaction-pending") for rows in self._families.values()
            ) or self._db.property_int_value("rocksdb.num-running-compactions")
            idle = 0 if busy else idle + 1
