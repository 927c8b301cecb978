"""Versions that this node must not give away just now, because a move made it their keeper.

A node that moves a version here proves its copy, and then has the other one deleted. If it let its own copy go
between the two, for a move the other way, both would be gone. So it *relies* on the version from before the proof until
the source has answered, and removes none that it relies on; and it relies on none that is being removed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionId


class Named(NamedTuple):
    """A version, by its place and id."""

    bucket: BucketName
    object_id: ObjectId
    version: VersionId


class Reliance:
    """Which versions are relied on, and which are being removed: never both. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._relied: dict[Named, int] = {}
        self._leaving: dict[Named, int] = {}

    @contextmanager
    def relying(self, wanted: Sequence[Named]) -> Iterator[frozenset[Named]]:
        """Rely on those of `wanted` that are not being removed, which are given, while the context lasts."""
        with _entered(self._lock, wanted, self._relied, against=self._leaving) as relied:
            yield relied

    @contextmanager
    def leaving(self, wanted: Sequence[Named]) -> Iterator[frozenset[Named]]:
        """Those of `wanted` that may be removed while the context lasts: nothing relies on them until it ends."""
        with _entered(self._lock, wanted, self._leaving, against=self._relied) as left:
            yield left


@contextmanager
def _entered(
    lock: threading.Lock, wanted: Sequence[Named], counts: dict[Named, int], *, against: dict[Named, int]
) -> Iterator[frozenset[Named]]:
    with lock:
        entered = frozenset(each for each in wanted if each not in against)
        for each in entered:
            counts[each] = counts.get(each, 0) + 1
    try:
        yield entered
    finally:
        with lock:
            for each in entered:
                counts[each] -= 1
                if not counts[each]:
                    del counts[each]
