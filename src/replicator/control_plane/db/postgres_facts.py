"""What every transaction on Postgres reads as it begins: which database this is, what time it has, which schema.

A process knows its database by these. Where they are others than they were, it must end: what it remembers, and what
its nodes hold, belongs to a database that is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa

from replicator.control_plane.db.postgres_errors import cause_of
from replicator.kernel.errors import StoreFailed

FACTS = (
    "SELECT id, CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS bigint), "
    "(SELECT version_num FROM alembic_version) FROM control_plane"
)

Raw = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is read as a transaction begins."""

    control_plane: str
    now_ms: int
    revision: str


class Known:
    """What this process knows of its database, for all of its threads. `now_ms` replaces its clock, in tests."""

    def __init__(self, revision: str, now_ms: Callable[[], int] | None = None) -> None:
        self._revision = revision
        self._now_ms = now_ms
        self._control_plane = ""
        self._lock = threading.Lock()

    def facts(self, row: tuple[Any, ...] | None) -> Facts:
        """The row that `FACTS` gives.

        Raises:
            StoreFailed: this process must end, and why.
        """
        if row is None:
            raise StoreFailed("the table `control_plane` of the database is empty; restore it from a backup")
        control_plane, now_ms, revision = row
        if revision != self._revision:
            raise StoreFailed(
                f"the database has schema {revision} now, and this release needs {self._revision}: another release "
                "has migrated it; run that one"
            )
        with self._lock:
            self._control_plane = self._control_plane or control_plane
        if control_plane != self._control_plane:
            raise StoreFailed(
                f"the database is another one now: its identity is {control_plane}, and was {self._control_plane}; "
                "start this control plane again if that is meant"
            )
        return Facts(control_plane, now_ms if self._now_ms is None else self._now_ms(), revision)


def raw_of(connection: sa.Connection) -> Raw:
    """The driver's connection."""
    raw = connection.connection.dbapi_connection
    if raw is None:
        raise psycopg.OperationalError("the connection is closed")
    return raw  # type: ignore[return-value] # it is no other with this driver


def gone(error: Exception) -> StoreFailed | None:
    """Why this process must end, if `error`, of a transaction's beginning, says that the tables are gone."""
    if not isinstance(cause_of(error), psycopg.errors.UndefinedTable):
        return None
    return StoreFailed(
        "the tables of the database are gone, so it was made anew or emptied; restore a backup, or start this "
        "control plane again to begin with an empty one"
    )
