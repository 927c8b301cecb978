"""Failures of the disk, caused at the calls that `data_plane.storage.files` makes, and of the catalog."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from replicator.data_plane.storage.catalog import Batch, Catalog, Family, Skip


@contextmanager
def failing(call: str, error: int) -> Iterator[mock.Mock]:
    """Let the function `call` of the module `os` fail with `error`, an errno, while the block lasts."""
    with mock.patch.object(os, call, side_effect=OSError(error, os.strerror(error))) as patched:
        yield patched


@contextmanager
def full_disk(*, after_bytes: int = 0) -> Iterator[None]:
    """A disk that takes `after_bytes` more, the last of them by a short write, and then no more.

    What is cut off a file is free again. `statvfs` does not tell, as where a user's quota is used up.
    """
    left = after_bytes
    write, cut = os.pwritev, os.truncate

    def pwritev(descriptor: int, buffers: Sequence[Any], offset: int, *flags: int) -> int:
        nonlocal left
        data = b"".join(bytes(buffer) for buffer in buffers)[:left]
        if not data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, [data], offset, *flags)
        left -= written
        return written

    def truncate(path: str, length: int) -> None:
        nonlocal left
        left += os.path.getsize(path) - length
        cut(path, length)

    with mock.patch.object(os, "pwritev", pwritev), mock.patch.object(os, "truncate", truncate):
        yield


@contextmanager
def no_new_files() -> Iterator[None]:
    """A file system whose inodes are used up: what is there can still grow."""
    opened = os.open

    def open_(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_EXCL:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return opened(path, flags, *rest, **named)

    with mock.patch.object(os, "open", open_):
        yield


class FailingCatalog:
    """Another catalog, until `failure` is set: then writes raise it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.failure: Exception | None = None

    def get(self, family: Family, key: bytes) -> bytes | None:
        """See `Catalog.get`."""
        return self._catalog.get(family, key)

    def get_many(self, family: Family, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Catalog.get_many`."""
        return self._catalog.get_many(family, keys)

    def scan(
        self, family: Family, prefix: bytes, start: bytes | None = None, skip: Skip | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """See `Catalog.scan`."""
        return self._catalog.scan(family, prefix, start, skip)

    def write(self, batch: Batch) -> None:
        """See `Catalog.write`."""
        if self.failure is not None:
            raise self.failure
        self._catalog.write(batch)

    def following(self, family: Family, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `Catalog.following`."""
        return self._catalog.following(family, keys)

    def sync(self) -> None:
        """See `Catalog.sync`."""
        if self.failure is not None:
            raise self.failure
        self._catalog.sync()

    def copy_to(self, path: str) -> None:
        """See `Catalog.copy_to`."""
        self._catalog.copy_to(path)

    def close(self) -> None:
        """See `Catalog.close`."""
        self._catalog.close()
