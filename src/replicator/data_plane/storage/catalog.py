"""The catalog: ordered rows in families, changed by atomic batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol, get_args

Family = Literal["chunks", "manifests", "pages", "versions", "heads", "nulls", "buckets", "meta"]
FAMILIES: tuple[Family, ...] = get_args(Family)

Skip = Callable[[bytes], bytes | None]
"""Asked behind each row of a scan, with its key: a greater one to go on from, or None for the next row."""


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

    What was written is seen at once and survives the process. A power cut may take the batches since the last
    `sync` away, the later ones first: what is left is a state that the catalog once had.

    A failed `write` leaves the batch applied whole or not at all, and the caller does not know which: the
    catalog must not be written again before it was closed and opened.
    """

    def get(self, family: Family, key: bytes) -> bytes | None:
        """The row under `key`. Raises `Corrupt` where it cannot be read."""
        ...

    def get_many(self, family: Family, keys: Sequence[bytes]) -> list[bytes | None]:
        """The rows under `keys`, in their order."""
        ...

    def following(self, family: Family, keys: Sequence[bytes]) -> list[bytes | None]:
        """For each of `keys` the next greater key of the family, None behind the last."""
        ...

    def scan(
        self, family: Family, prefix: bytes, start: bytes | None = None, skip: Skip | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows whose keys begin with `prefix`, in order, from `start` (inclusive) on.

        Sees one moment: later writes do not show. What `skip` jumps over is not read.
        """
        ...

    def write(self, batch: Batch) -> None:
        """Apply `batch`. Raises `StoreFailed`."""
        ...

    def sync(self) -> None:
        """Returns once all that was written is durable. Raises `StoreFailed`."""
        ...

    def copy_to(self, path: str) -> None:
        """Make a catalog in the new folder `path` that holds what this one does now, durably.

        Raises:
            Unavailable: it did not work; the message says why.
        """
        ...

    def close(self) -> None:
        """Release what is held, after a `sync`. Raises `StoreFailed`: nothing acknowledged is lost."""
        ...
