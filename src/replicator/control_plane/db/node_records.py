"""Nodes and their sessions in SQL. Statements are built once: building one takes longer than running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db import rows
from replicator.control_plane.db.schema import nodes, sessions
from replicator.control_plane.domain.lease import Session
from replicator.control_plane.domain.node import Node
from replicator.kernel.names import NodeName

_Bound = sa.BindParameter[Any]
_KEY: _Bound = sa.bindparam("key")
_KEYS: _Bound = sa.bindparam("keys", expanding=True)
_NOW: _Bound = sa.bindparam("now_ms")
_LIMIT: _Bound = sa.bindparam("limit")

_GET_NODE = sa.select(nodes).where(nodes.c.name == _KEY)
_GET_NODES = sa.select(nodes).where(nodes.c.name.in_(_KEYS))
_UPDATE_NODE = sa.update(nodes).where(nodes.c.name == _KEY)
_INSERT_NODE = sa.insert(nodes)
_DELETE_NODE = sa.delete(nodes).where(nodes.c.name == _KEY)
_PAGE_OF_NODES = sa.select(nodes).where(nodes.c.name > _KEY).order_by(nodes.c.name).limit(_LIMIT)
_TO_JOIN = (
    sa.select(nodes)
    .where(nodes.c.join_at_ms.is_not(None), nodes.c.join_at_ms <= _NOW)
    .order_by(nodes.c.join_at_ms)
    .limit(_LIMIT)
)
_NEXT_JOIN = sa.select(sa.func.min(nodes.c.join_at_ms)).where(nodes.c.join_at_ms.is_not(None))
_CONNECTED = sa.select(nodes).where(nodes.c.session_id.is_not(None)).order_by(nodes.c.name).limit(_LIMIT)
_COUNT_NODES = sa.select(sa.func.count()).select_from(nodes)
_COUNT_CONNECTED = _COUNT_NODES.where(nodes.c.session_id.is_not(None))

_OPEN = sessions.c.ended_at_ms.is_(None)
_GET_SESSION = sa.select(sessions).where(sessions.c.id == _KEY)
_GET_SESSIONS = sa.select(sessions).where(sessions.c.id.in_(_KEYS))
_UPDATE_SESSION = sa.update(sessions).where(sessions.c.id == _KEY)
_INSERT_SESSION = sa.insert(sessions)
_FORGET_ENDED = sa.delete(sessions).where(sessions.c.node == _KEY, sessions.c.ended_at_ms.is_not(None))
_EXPIRED = (
    sa.select(sessions)
    .where(_OPEN, sessions.c.expires_at_ms <= _NOW)
    .order_by(sessions.c.expires_at_ms)
    .limit(_LIMIT)
)
_NEXT_EXPIRY = sa.select(sa.func.min(sessions.c.expires_at_ms)).where(_OPEN)
_EXTEND = sa.update(sessions).where(_OPEN)


class SqlNodes:
    """`NodeRecords` on one connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def get(self, name: NodeName) -> Node | None:
        """The node, if it is known."""
        row = self._connection.execute(_GET_NODE, {"key": name}).one_or_none()
        return None if row is None else rows.node_of(row)

    def get_many(self, names: frozenset[NodeName]) -> Mapping[NodeName, Node]:
        """Those of `names` that are known."""
        found = self._connection.execute(_GET_NODES, {"keys": sorted(names)})
        return {node.name: node for node in map(rows.node_of, found)}

    def put(self, node: Node) -> None:
        """Adds it, or replaces the one of that name."""
        values = rows.node_values(node)
        if self._connection.execute(_UPDATE_NODE, values | {"key": node.name}).rowcount == 0:
            self._connection.execute(_INSERT_NODE, values)

    def delete(self, name: NodeName) -> None:
        """Removes it with its sessions; no error if it is not there."""
        self._connection.execute(_DELETE_NODE, {"key": name})

    def page(self, *, after: str, limit: int) -> Sequence[Node]:
        """At most `limit` nodes with names above `after`, in their order."""
        found = self._connection.execute(_PAGE_OF_NODES, {"key": after, "limit": limit})
        return [rows.node_of(row) for row in found]

    def to_join(self, *, now_ms: int, limit: int) -> Sequence[Node]:
        """Nodes without a session whose time to be told to join has come, longest due first."""
        found = self._connection.execute(_TO_JOIN, {"now_ms": now_ms, "limit": limit})
        return [rows.node_of(row) for row in found]

    def next_join_ms(self) -> int | None:
        """When the next node is due to be told."""
        earliest: int | None = self._connection.execute(_NEXT_JOIN).scalar_one()
        return earliest

    def connected(self, *, limit: int) -> Sequence[Node]:
        """At most `limit` nodes that have a session, by name."""
        return [rows.node_of(row) for row in self._connection.execute(_CONNECTED, {"limit": limit})]

    def connected_count(self) -> int:
        """How many have a session."""
        return self._connection.execute(_COUNT_CONNECTED).scalar_one()

    def count(self) -> int:
        """How many there are."""
        return self._connection.execute(_COUNT_NODES).scalar_one()


class SqlSessions:
    """`SessionRecords` on one connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def get(self, session_id: str) -> Session | None:
        """The session, live or not, if it is still known."""
        row = self._connection.execute(_GET_SESSION, {"key": session_id}).one_or_none()
        return None if row is None else rows.session_of(row)

    def get_many(self, session_ids: frozenset[str]) -> Mapping[str, Session]:
        """Those of `session_ids` that are known."""
        found = self._connection.execute(_GET_SESSIONS, {"keys": sorted(session_ids)})
        return {session.id: session for session in map(rows.session_of, found)}

    def put(self, session: Session) -> None:
        """Adds it, or replaces the one of that id."""
        values = rows.session_values(session)
        if self._connection.execute(_UPDATE_SESSION, values | {"key": session.id}).rowcount == 0:
            self._connection.execute(_INSERT_SESSION, values)

    def forget_ended(self, node: NodeName) -> None:
        """Removes the sessions of `node` that have ended."""
        self._connection.execute(_FORGET_ENDED, {"key": node})

    def expired(self, *, now_ms: int, limit: int) -> Sequence[Session]:
        """Sessions that nobody ended but whose time is over, longest over first."""
        found = self._connection.execute(_EXPIRED, {"now_ms": now_ms, "limit": limit})
        return [rows.session_of(row) for row in found]

    def next_expiry_ms(self) -> int | None:
        """When the next session that has not ended will expire."""
        earliest: int | None = self._connection.execute(_NEXT_EXPIRY).scalar_one()
        return earliest

    def extend_all(self, *, expires_at_ms: int) -> int:
        """Every session that has not ended expires then; returns how many there are."""
        return self._connection.execute(_EXTEND, {"expires_at_ms": expires_at_ms}).rowcount
