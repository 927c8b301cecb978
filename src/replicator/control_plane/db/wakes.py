"""What other replicas have woken: rows that their writers leave, in the order in which they had the turn."""

from __future__ import annotations

import sqlalchemy as sa

from replicator.control_plane.db.schema import wakes

WAKES_MAX = 1000
_NEWEST = sa.select(sa.func.coalesce(sa.func.max(wakes.c.id), 0))
_AFTER = (
    sa.select(wakes.c.id, wakes.c.topic, wakes.c.writer)
    .where(wakes.c.id > sa.bindparam("after"))
    .order_by(wakes.c.id)
    .limit(WAKES_MAX)
)


def newest_wake(connection: sa.Connection) -> int:
    """The id of the newest row, or 0."""
    newest: int = connection.execute(_NEWEST).scalar_one()
    return newest


def wakes_after(connection: sa.Connection, after: int, *, writer: str) -> tuple[int, list[str]]:
    """The id up to which was looked, at most `WAKES_MAX` rows on, and the topics of others than `writer`.

    Ids may begin anew below `after`, where a standby without the last commits has become the primary: then from the
    first row on.
    """
    found = connection.execute(_AFTER, {"after": after}).all()
    if not found and after and newest_wake(connection) < after:
        after = 0
        found = connection.execute(_AFTER, {"after": after}).all()
    topics = dict.fromkeys(row.topic for row in found if row.writer != writer)
    return (found[-1].id if found else after), list(topics)
