"""The catalog in RocksDB, by `rocksdict`.

Why RocksDB: inserts of random digests stay at 300,000/s whatever the size, where a B-tree falls to a tenth
(`docs/adr/0002`). Every batch is synced to its write-ahead log. A log that is damaged anywhere but at its
torn end refuses to open: opening it anyway would silently drop acknowledged batches.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    WriteBatch,
)

from replicator.data_plane.storage.catalog import FAMILIES, Batch, Family
from replicator.kernel.errors import Corrupt, StoreFailed, Unavailable

MEBIBYTE = 1024 * 1024
_POINT_LOOKUPS: frozenset[Family] = frozenset({"chunks", "manifests", "pages"})
_BLOOM_BITS_PER_KEY = 10
# One call holds the GIL from its first key to its last.
_KEYS_PER_CALL = 256


class RocksCatalog:
    """`Catalog` in the folder `path`."""

    def __init__(self, path: str, *, cache_bytes: int) -> None:
        cache = Cache(cache_bytes)
        families: dict[str, Options] = {family: _family_options(family, cache) for family in FAMILIES}
        try:
            self._db = Rdict(path, options=_database_options(path), column_families=families)
        except Exception as error:
            raise Unavailable(
                f"the catalog in '{path}' does not open: {error}. Nothing was changed. If the disk is well, "
                "restore this node's folder from a backup, or start empty and migrate its objects back",
                path=path,
            ) from error
        self._family = {family: self._db.get_column_family(family) for family in FAMILIES}
        self._handle = {family: self._db.get_column_family_handle(family) for family in FAMILIES}

    def get(self, family: Family, key: bytes) -> bytes | None:
        """See `Catalog.get`."""
        try:
            return self._family[family].get(key)
        except Exception as error:
            raise _unreadable(family, error) from error

    def get_many(self, family: Family, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Catalog.get_many`."""
        rows: list[bytes | None] = []
        rest = iter(keys)
        try:
            while some := list(islice(rest, _KEYS_PER_CALL)):
                rows += self._family[family].get(some)  # type: ignore[arg-type, operator, unused-ignore]
        except Exception as error:
            raise _unreadable(family, error) from error
        return rows

    def scan(
        self, family: Family, prefix: bytes, start: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `Catalog.scan`."""
        rows = self._family[family].iter()
        rows.seek(max(prefix, start or b""))
        while rows.valid():
            key = rows.key()
            if not key.startswith(prefix):
                return
            yield key, rows.value()
            rows.next()
        try:
            rows.status()
        except Exception as error:
            raise _unreadable(family, error) from error

    def write(self, batch: Batch) -> None:
        """See `Catalog.write`."""
        changes = WriteBatch(raw_mode=True)
        for family, key, row in batch.operations:
            if row is None:
                changes.delete(key, self._handle[family])
            else:
                changes.put(key, row, self._handle[family])
        try:
            self._db.write(changes)
            # A synced `write` would do the same, but keep the GIL, and with it the whole process, for as
            # long as the disk takes.
            self._db.flush_wal(sync=True)
        except Exception as error:
            raise StoreFailed(f"the catalog failed to write: {error}; restart the node") from error

    def close(self) -> None:
        """See `Catalog.close`."""
        self._family.clear()
        self._handle.clear()
        self._db.close()


def _database_options(path: str) -> Options:
    options = Options(raw_mode=True)
    # Where the file that names the rest is lost, RocksDB would start anew and delete the tables it finds.
    names = os.listdir(path) if os.path.isdir(path) else []
    options.create_if_missing(not any(name.endswith((".sst", ".log")) for name in names))
    options.create_missing_column_families(True)
    options.set_paranoid_checks(True)
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_max_background_jobs(2)
    options.set_max_open_files(512)
    options.set_db_write_buffer_size(48 * MEBIBYTE)
    options.set_max_total_wal_size(128 * MEBIBYTE)
    options.set_keep_log_file_num(4)
    options.set_max_log_file_size(4 * MEBIBYTE)
    return options


def _family_options(family: Family, cache: Cache) -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    # Bounds memory by the cache, whatever the number of rows.
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    if family in _POINT_LOOKUPS:
        table.set_bloom_filter(_BLOOM_BITS_PER_KEY, False)
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_size(16 * MEBIBYTE)
    options.set_compression_type(
        DBCompressionType.lz4() if family == "versions" else DBCompressionType.none()
    )
    return options


def _unreadable(family: Family, error: Exception) -> Corrupt:
    return Corrupt(f"the catalog cannot read its family '{family}': {error}", family=family)
