"""The catalog: ordered rows in families, changed by atomic batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol, get_args

Family = Literal["chunks", "manifests", "pages", "versions", "meta"]
FAMILIES: tuple[Family, ...] = get_args(Family)


class Batch:
    """Changes that take effect together, in the order they were made."""

    __slots__ = ("operations",)

    def __init__(self) -> None:
        self.operations: list[tuple[Family, bytes, bytes | None]] = []

    def put(self, family: Family, key: bytes, row: bytes) -> None:
        """Set the row under `key`."""
        self.operations.append((family, key, row))

    def delete(self, family: Family, key: bytes) -> None:
        """Remove the row under `key`, if there is one."""
        self.operations.append((family, key, None))


class Catalog(Protocol):
    """Keys are ordered as bytes within their family. Any thread may read; one thread writes.

    A failed `write` leaves the batch applied whole or not at all, and the caller does not know which: the
    catalog must not be written again before it was closed and opened.
    """

    def get(self, family: Family, key: bytes) -> bytes | None:
        """The row under `key`. Raises `Corrupt` where it cannot be read."""
        ...

    def get_many(self, family: Family, keys: Sequence[bytes]) -> list[bytes | None]:
        """The rows under `keys`, in their order."""
        ...

    def scan(
        self, family: Family, prefix: bytes, start: bytes | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose keys begin with `prefix`, in order, from `start` (inclusive) on.

        Sees one moment: later writes do not show.
        """
        ...

    def write(self, batch: Batch) -> None:
        """Apply `batch`; returns once it is durable. Raises `StoreFailed`.

        Readers may see the batch a moment before it is durable.
        """
        ...

    def close(self) -> None:
        """Release what is held. Nothing that was written needs it."""
        ...
