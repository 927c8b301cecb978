"""The catalog in RocksDB, by `rocksdict`.

Why RocksDB: inserts of random digests stay at 300,000/s whatever the size, where a B-tree falls to a tenth
(`docs/adr/0002`). Its write-ahead log is not synced with each batch: the store's own log is, and makes up for
what a power cut takes (`docs/adr/0008`). So a write-ahead log is read up to its first damage, and the rest of it
comes from the segments; damage that RocksDB would never get past is refused before it opens (`rocks_log`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from rocksdict import (
    AccessType,
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    Checkpoint,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBatch,
)

from replicator.data_plane.storage.catalog import FAMILIES, Batch, Family, Skip
from replicator.data_plane.storage.rocks_log import endless_record
from replicator.kernel.errors import Corrupt, InvalidRequest, StoreFailed, Unavailable

MEBIBYTE = 1024 * 1024
_POINT_LOOKUPS: frozenset[Family] = frozenset({"chunks", "manifests", "pages", "heads", "nulls"})
_OF_NAMES: frozenset[Family] = frozenset({"versions", "heads", "nulls"})
_BLOOM_BITS_PER_KEY = 10
# One call holds the GIL from its first key to its last.
_KEYS_PER_CALL = 256
_METADATA_BLOCK_BYTES = 4096
# A table in which so many of the rows in a row are deletions is rewritten soon: scans have to step over them.
_ROWS_WATCHED, _DELETIONS_MAX = 4096, 2048


class RocksCatalog:
    """`Catalog` in the folder `path`.

    Args:
        read_only: no row is written, and RocksDB leaves its tables and logs as they are.
    """

    def __init__(self, path: str, *, cache_bytes: int, read_only: bool = False) -> None:
        endless = endless_record(Path(path))
        if endless is not None:
            raise _does_not_open(path, endless)
        cache = Cache(cache_bytes)
        families: dict[str, Options] = {family: family_options(family, cache) for family in FAMILIES}
        try:
            self._db = Rdict(
                path,
                options=database_options(path),
                column_families=families,
                access_type=AccessType.read_only() if read_only else AccessType.read_write(),
            )
        except Exception as error:
            if read_only and "Column family not found" in str(error):
                raise InvalidRequest(
                    f"the catalog in '{path}' is of an earlier format: start the node once, which brings it up to "
                    "date",
                    path=path,
                ) from error
            raise _does_not_open(path, error) from error
        self._read_only = read_only
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

    def following(self, family: Family, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Catalog.following`."""
        rows = self._family[family].iter()
        found: list[bytes | None] = []
        for key in keys:
            rows.seek(key + b"\0")
            found.append(rows.key() if rows.valid() else None)
        self._require_read(family, rows)
        return found

    def scan(
        self, family: Family, prefix: bytes, start: bytes | None = None, skip: Skip | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `Catalog.scan`."""
        # Without a bound, the end of the prefix would be found only behind all rows deleted there.
        options = ReadOptions()
        if (bound := _behind(prefix)) is not None:
            options.set_iterate_upper_bound(bound)
        rows = self._family[family].iter(options)
        rows.seek(max(prefix, start or b""))
        while rows.valid():
            key = rows.key()
            yield key, rows.value()
            going_on = skip(key) if skip is not None else None
            if going_on is None:
                rows.next()
            else:
                rows.seek(going_on)
        self._require_read(family, rows)

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
        except Exception as error:
            raise _failed(error) from error

    def sync(self) -> None:
        """See `Catalog.sync`."""
        try:
            self._db.flush_wal(sync=True)
        except Exception as error:
            raise _failed(error) from error

    def copy_to(self, path: str) -> None:
        """See `Catalog.copy_to`."""
        try:
            Checkpoint(self._db).create_checkpoint(path)
        except Exception as error:
            raise Unavailable(f"the catalog could not be copied to '{path}': {error}", path=path) from error

    def close(self) -> None:
        """See `Catalog.close`."""
        self._family.clear()
        self._handle.clear()
        try:
            if not self._read_only:
                self._db.flush_wal(sync=True)
            self._db.close()
        except Exception as error:
            raise _failed(error) from error

    def _require_read(self, family: Family, rows: RdictIter) -> None:
        try:
            rows.status()
        except Exception as error:
            raise _unreadable(family, error) from error


def database_options(path: str) -> Options:
    """What holds for all families."""
    options = Options(raw_mode=True)
    # Where the file that names the rest is lost, RocksDB would start anew and delete the tables it finds.
    names = os.listdir(path) if os.path.isdir(path) else []
    options.create_if_missing(not any(name.endswith((".sst", ".log")) for name in names))
    options.create_missing_column_families(True)
    options.set_paranoid_checks(True)
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
    options.set_max_background_jobs(2)
    options.set_max_open_files(512)
    options.set_db_write_buffer_size(48 * MEBIBYTE)
    options.set_max_total_wal_size(128 * MEBIBYTE)
    options.set_keep_log_file_num(4)
    options.set_max_log_file_size(4 * MEBIBYTE)
    return options


def family_options(family: Family, cache: Cache) -> Options:
    """How the files of a family are built, read and compacted."""
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    # Bounds memory by the cache, whatever the number of rows. In pieces of a block, because the filter of a
    # table is megabytes: whole, a few of them would push everything else out of the cache.
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    table.set_index_type(BlockBasedIndexType.two_level_index_search())
    table.set_partition_filters(True)
    table.set_metadata_block_size(_METADATA_BLOCK_BYTES)
    table.set_pin_top_level_index_and_filter(True)
    if family in _POINT_LOOKUPS:
        table.set_bloom_filter(_BLOOM_BITS_PER_KEY, False)
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(table)
    options.add_compact_on_deletion_collector_factory(_ROWS_WATCHED, _DELETIONS_MAX, 0.0)
    options.set_write_buffer_size(16 * MEBIBYTE)
    options.set_compression_type(DBCompressionType.lz4() if family in _OF_NAMES else DBCompressionType.none())
    return options


def _behind(prefix: bytes) -> bytes | None:
    """The least key that is greater than all that begin with `prefix`; None where there is none."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else None


def _does_not_open(path: str, why: object) -> Unavailable:
    return Unavailable(
        f"the catalog in '{path}' does not open: {why}. Nothing was changed. If the disk is well, "
        "make it anew from the segments: replicator store rebuild-catalog --data-dir "
        f"{os.path.dirname(os.path.abspath(path))}",
        path=path,
    )


def _unreadable(family: Family, error: Exception) -> Corrupt:
    return Corrupt(f"the catalog cannot read its family '{family}': {error}", family=family)


def _failed(error: Exception) -> StoreFailed:
    return StoreFailed(f"the catalog failed to write: {error}; restart the node")
