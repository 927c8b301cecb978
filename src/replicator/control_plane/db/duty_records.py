"""The leases of duties, and the replicas that write, in SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db.schema import duties, writers
from replicator.control_plane.db.write_behind import WriteBehind
from replicator.control_plane.domain.duty import DutyLease

_NAME: sa.BindParameter[Any] = sa.bindparam("of_name")
_GET = sa.select(duties).where(duties.c.name == _NAME)
_ALL = sa.select(duties).order_by(duties.c.name)
_INSERT = sa.insert(duties)
_UPDATE = (
    sa.update(duties)
    .where(duties.c.name == _NAME)
    .values({name: sa.bindparam(name) for name in ("holder", "term", "acquired_at_ms", "expires_at_ms")})
)
_WRITERS = (
    sa.select(writers.c.id, writers.c.at_ms).order_by(writers.c.at_ms.desc()).limit(sa.bindparam("limit"))
)


class SqlDuties:
    """`DutyRecords` on one connection."""

    def __init__(self, connection: WriteBehind) -> None:
        self._connection = connection

    def get(self, name: str) -> DutyLease | None:
        """The lease of that name, live or not, if anybody ever had it."""
        row = self._connection.execute(_GET, {"of_name": name}).one_or_none()
        return None if row is None else DutyLease(**row._asdict())

    def put(self, lease: DutyLease) -> None:
        """Adds it, or replaces the one of that name."""
        values = {
            "holder": lease.holder,
            "term": lease.term,
            "acquired_at_ms": lease.acquired_at_ms,
            "expires_at_ms": lease.expires_at_ms,
        }
        if not self._connection.change(_UPDATE, values | {"of_name": lease.name}, of=duties).rowcount:
            self._connection.change(_INSERT, values | {"name": lease.name}, of=duties)

    def all(self) -> Sequence[DutyLease]:
        """Every lease there is, by name."""
        return [DutyLease(**row._asdict()) for row in self._connection.execute(_ALL)]

    def writers(self, *, limit: int) -> Sequence[tuple[str, int]]:
        """At most `limit` replicas that have written, and when they last did, the latest first."""
        return [(row.id, row.at_ms) for row in self._connection.execute(_WRITERS, {"limit": limit})]
