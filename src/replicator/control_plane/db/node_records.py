"""Nodes and their sessions in SQL. Statements are built once: building one takes longer than running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db import rows
from replicator.control_plane.db.schema import nodes, sessions
from replicator.control_plane.db.write_behind import WriteBehind
from replicator.control_plane.domain.lease import Session
from replicator.control_plane.domain.node import Node
from replicator.kernel.names import NodeName

_Bound = sa.BindParameter[Any]
_KEY: _Bound = sa.bindparam("key")
_KEYS: _Bound = sa.bindparam("keys", expanding=True)
_NOW: _Bound = sa.bindparam("now_ms")
_LIMIT: _Bound = sa.bindparam("limit")

_GET_NODES = sa.select(nodes).where(nodes.c.name.in_(_KEYS))
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

    def __init__(self, connection: WriteBehind) -> None:
        self._connection = connection

    def get(self, name: NodeName) -> Node | None:
        """The node, if it is known."""
        known = self._connection.known(rows.NODE, name)
        return known or self.get_many(frozenset({name})).get(name)

    def get_many(self, names: frozenset[NodeName]) -> Mapping[NodeName, Node]:
        """Those of `names` that are known."""
        found = {name: self._connection.known(rows.NODE, name) for name in names}
        asked = sorted(name for name, node in found.items() if node is None)
        if asked:
            read = self._connection.query(_GET_NODES, {"keys": asked}, of=())
            found |= {node.name: node for node in map(self._read, read)}
        return {name: node for name, node in found.items() if node is not None}

    def put(self, node: Node) -> None:
        """Adds it, or replaces the one of that name."""
        known = self._connection.known(rows.NODE, node.name)
        if known is None or known.session_id != node.session_id:
            self._connection.forget_fact(_CONNECTED)
        self._connection.put(rows.NODE, node.name, node)

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
        found: dict[int, list[NodeName]] = self._connection.fact(_CONNECTED) or {}
        if limit not in found:
            read = self._connection.query(_CONNECTED, {"limit": limit}, of=[nodes])
            found = {limit: [self._read(row).name for row in read]}
            self._connection.note_fact(_CONNECTED, found)
        known = self.get_many(frozenset(found[limit]))
        return [known[name] for name in found[limit]]

    def connected_count(self) -> int:
        """How many have a session."""
        return int(self._connection.execute(_COUNT_CONNECTED).scalar_one())

    def count(self) -> int:
        """How many there are."""
        return int(self._connection.execute(_COUNT_NODES).scalar_one())

    def _read(self, row: rows.AnyRow) -> Node:
        node = rows.node_of(row)
        return self._connection.read(rows.NODE, node.name, node)


class SqlSessions:
    """`SessionRecords` on one connection."""

    def __init__(self, connection: WriteBehind) -> None:
        self._connection = connection

    def get(self, session_id: str) -> Session | None:
        """The session, live or not, if it is still known."""
        known = self._connection.known(rows.SESSION, session_id)
        if known is not None:
            return known
        row = self._connection.query(_GET_SESSION, {"key": session_id}, of=()).one_or_none()
        return None if row is None else self._connection.read(rows.SESSION, session_id, rows.session_of(row))

    def get_many(self, session_ids: frozenset[str]) -> Mapping[str, Session]:
        """Those of `session_ids` that are known."""
        found = self._connection.execute(_GET_SESSIONS, {"keys": sorted(session_ids)})
        return {session.id: session for session in map(rows.session_of, found)}

    def put(self, session: Session) -> None:
        """Adds it, or replaces the one of that id."""
        self._connection.put(rows.SESSION, session.id, session)

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
