"""A catalog in memory, for tests: nothing survives it."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

from replicator.data_plane.storage.catalog import FAMILIES, Batch, Family, Skip
from replicator.kernel.errors import Unavailable


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
        self, family: Family, prefix: bytes, start: bytes | None = None, skip: Skip | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `Catalog.scan`."""
        first = max(prefix, start or b"")
        rows = list(self._rows[family].items())
        found = sorted(item for item in rows if item[0] >= first and item[0].startswith(prefix))
        return iter(found) if skip is None else _skipping(found, skip)

    def write(self, batch: Batch) -> None:
        """See `Catalog.write`."""
        for family, key, row in batch.operations:
            if row is None:
                self._rows[family].pop(key, None)
            else:
                self._rows[family][bytes(key)] = bytes(row)

    def following(self, family: Family, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Catalog.following`."""
        ordered = sorted(self._rows[family])
        places = [bisect.bisect_right(ordered, key) for key in keys]
        return [ordered[place] if place < len(ordered) else None for place in places]

    def sync(self) -> None:
        """See `Catalog.sync`."""

    def copy_to(self, path: str) -> None:
        """See `Catalog.copy_to`; memory has no folders."""
        raise Unavailable("a catalog in memory cannot be copied to a folder", path=path)

    def close(self) -> None:
        """See `Catalog.close`."""


def _skipping(rows: list[tuple[bytes, bytes]], skip: Skip) -> Iterator[tuple[bytes, bytes]]:
    first = b""
    for key, row in rows:
        if key >= first:
            yield key, row
            first = skip(key) or b""
