"""Digests met before, exactly, however many there are.

The first ones are kept in memory. When they become too many, all go to a database in a file that has no name any
more from the moment it is open, so nothing is left of it after a crash.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from replicator.kernel.digest import Digest
from replicator.kernel.errors import QuotaExceeded

IN_MEMORY_MAX = 262_144
PER_QUERY = 512
_CACHE_KIB = 16 * 1024


class SeenDigests:
    """A set of digests, and a context manager that frees what it takes. One thread at a time.

    What is added belongs to a round, which can be taken back.

    Memory: some 150 bytes for each of `in_memory_max` digests, or a cache of 16 MiB.

    Args:
        folder: where the file is made; 60 to 100 bytes for each digest.
    """

    def __init__(self, folder: str, *, in_memory_max: int = IN_MEMORY_MAX) -> None:
        self._folder = folder
        self._in_memory_max = in_memory_max
        self._digests: dict[Digest, int] = {}
        self._round = 0
        self._taken_back: set[int] = set()
        self._spilled: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._digests.clear()
        if self._spilled is not None:
            self._spilled.close()

    def begin_round(self) -> None:
        """What is added from now on is taken back together."""
        self._round += 1

    def take_back(self) -> None:
        """What was new in this round was not met."""
        self._taken_back.add(self._round)

    def add(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those of `digests` that were not met before; from now on they were.

        Raises:
            QuotaExceeded: there is no room for the file.
        """
        given = set(digests)
        if self._spilled is None and len(self._digests) + len(given) <= self._in_memory_max:
            new = {each for each in given if self._is_new(self._digests.get(each))}
            self._digests.update(dict.fromkeys(new, self._round))
            return new
        try:
            return self._add_spilled(given)
        except (sqlite3.Error, OSError) as error:
            raise QuotaExceeded(
                f"the digests of a dry run could not be kept in '{self._folder}': {error}; make room there",
                path=self._folder,
            ) from error

    def _add_spilled(self, given: set[Digest]) -> set[Digest]:
        if self._spilled is None:
            self._spilled = _unnamed_database(self._folder)
            _insert(self._spilled, self._digests)
            self._digests.clear()
        known = _known(self._spilled, list(given))
        new = {each for each in given if self._is_new(known.get(each))}
        _insert(self._spilled, dict.fromkeys(new, self._round))
        return new

    def _is_new(self, met_in_round: int | None) -> bool:
        return met_in_round is None or met_in_round in self._taken_back


def _unnamed_database(folder: str) -> sqlite3.Connection:
    handle, path = tempfile.mkstemp(dir=folder, prefix="seen-")
    os.close(handle)
    try:
        # Without a journal no second file is made. What a crash leaves behind is nobody's any more.
        database = sqlite3.connect(path, isolation_level=None)
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        database.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, round INTEGER) WITHOUT ROWID")
    finally:
        os.unlink(path)
    return database


def _known(database: sqlite3.Connection, digests: Sequence[Digest]) -> dict[bytes, int]:
    known: dict[bytes, int] = {}
    for first in range(0, len(digests), PER_QUERY):
        some = digests[first : first + PER_QUERY]
        marks = ",".join("?" * len(some))
        rows = database.execute(f"SELECT digest, round FROM seen WHERE digest IN ({marks})", some)  # noqa: S608
        known.update(rows.fetchall())
    return known


def _insert(database: sqlite3.Connection, rounds: Mapping[Digest, int]) -> None:
    database.execute("BEGIN")
    # In their order, neighbours in the tree are written together.
    database.executemany("INSERT OR REPLACE INTO seen VALUES (?, ?)", sorted(rounds.items()))
    database.execute("COMMIT")
