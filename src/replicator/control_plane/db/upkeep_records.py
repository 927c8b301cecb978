"""What the database notes of its own working, in SQL."""

from __future__ import annotations

import secrets
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db.schema import control_plane, wakes, writers
from replicator.control_plane.db.write_behind import WriteBehind

_BY: sa.BindParameter[Any] = sa.bindparam("by")
_LIMIT: sa.BindParameter[Any] = sa.bindparam("limit")

# Ids and times grow together, so the first by id is the first by time.
_FIRST_WAKE = sa.select(wakes.c.at_ms).order_by(wakes.c.id).limit(1)
_FIRST_WAKES = sa.select(wakes.c.id).order_by(wakes.c.id).limit(_LIMIT)
_FORGET_WAKES = sa.delete(wakes).where(wakes.c.id.in_(_FIRST_WAKES), wakes.c.at_ms <= _BY)
# A row for each process of the last day: few enough to be read.
_FIRST_WRITER = sa.select(sa.func.min(writers.c.at_ms))
_FORGET_WRITERS = sa.delete(writers).where(writers.c.at_ms <= _BY)
_HISTORY_FROM = sa.select(control_plane.c.history_from_ms)
_RENAME = sa.update(control_plane).values(id=sa.bindparam("identity"))


class SqlUpkeep:
    """`UpkeepRecords` on one connection."""

    def __init__(self, connection: WriteBehind) -> None:
        self._connection = connection

    def first_wake_ms(self) -> int | None:
        """When the first of the wakes that are kept was noted."""
        earliest: int | None = self._connection.execute(_FIRST_WAKE).scalar_one_or_none()
        return earliest

    def forget_wakes(self, *, by_ms: int, limit: int) -> int:
        """Removes at most `limit` that were noted by then, the first first; returns how many."""
        return self._connection.execute(_FORGET_WAKES, {"by": by_ms, "limit": limit}).rowcount

    def first_writer_ms(self) -> int | None:
        """When the writer that has been silent for longest wrote."""
        earliest: int | None = self._connection.execute(_FIRST_WRITER).scalar_one()
        return earliest

    def forget_writers(self, *, by_ms: int) -> int:
        """Removes the writers that have not written since then; returns how many."""
        return self._connection.execute(_FORGET_WRITERS, {"by": by_ms}).rowcount

    def history_from_ms(self) -> int | None:
        """Jobs that ended before are kept as if they had ended then; None where nothing is said of it."""
        from_ms: int | None = self._connection.execute(_HISTORY_FROM).scalar_one_or_none()
        return from_ms

    def renew_identity(self) -> str:
        """Another identity of the database from the next unit on; returns it."""
        identity = secrets.token_hex(16)
        self._connection.execute(_RENAME, {"identity": identity})
        return identity
