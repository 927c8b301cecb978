"""A catalog in memory, for tests: nothing survives it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from replicator.data_plane.storage.catalog import FAMILIES, Batch, Family


class MemoryCatalog:
    """`Catalog` on dictionaries, sorted when scanned."""

    def __init__(self) -> None:
        self._rows: dict[Family, dict[bytes, bytes]] = {family: {} for family in FAMILIES}

    def get(self, family: Family, key: bytes) -> bytes | None:
        """See `Catalog.get`."""
        return self._rows[family].get(key)

    def get_many(self, family: Family, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Catalog.get_many`."""
        rows = self._rows[family]
        return [rows.get(key) for key in keys]

    def scan(
        self, family: Family, prefix: bytes, start: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `Catalog.scan`."""
        first = max(prefix, start or b"")
        rows = list(self._rows[family].items())
        return iter(sorted(item for item in rows if item[0] >= first and item[0].startswith(prefix)))

    def write(self, batch: Batch) -> None:
        """See `Catalog.write`."""
        for family, key, row in batch.operations:
            if row is None:
                self._rows[family].pop(key, None)
            else:
                self._rows[family][bytes(key)] = bytes(row)

    def close(self) -> None:
        """See `Catalog.close`."""
