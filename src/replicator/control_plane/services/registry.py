"""Nodes: added, shown, removed, and told to join."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from pydantic import HttpUrl

from replicator.control_plane.domain import lease as leases
from replicator.control_plane.domain import node as nodes
from replicator.control_plane.domain.limits import NodeLimits
from replicator.control_plane.domain.node import Node
from replicator.control_plane.ports import Database, Event, Joiner, Unit
from replicator.control_plane.services import cursors
from replicator.control_plane.services.views import node_view
from replicator.kernel.errors import Conflict, InvalidRequest, NotFound, ReplicatorError
from replicator.kernel.names import NodeName
from replicator.runtime.logging import get_logger
from replicator.wire.nodes import NodePage, NodeView, RegisterNode

log = get_logger()
_JOBS_NAMED_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """What can be asked about nodes."""

    database: Database
    joiner: Joiner

    async def register(self, request: RegisterNode) -> NodeView:
        """Add the node or update it, and tell it to join unless it is connected under this very address.

        That it could not be told is no error: the answer's `problem` says so, and it is told again.
        """
        name, base_url = NodeName(request.name), address(request.base_url)
        tell = await self.database.transact(lambda unit: _register(unit, name, base_url))
        if tell:
            await self.tell_to_join(name=name, base_url=base_url)
        return await self.get(name)

    async def tell_to_join(self, *, name: NodeName, base_url: str) -> None:
        """Tell the node once, and remember how that went."""
        refusal: ReplicatorError | None = None
        try:
            await self.joiner.ask(node=name, base_url=base_url)
        except ReplicatorError as error:
            refusal = error
        except Exception as error:
            # It is this node's problem, whatever it is: the other nodes are told all the same.
            log.error("join.broke", node=name, base_url=base_url, exc_info=error)
            refusal = ReplicatorError(f"telling {base_url} to join failed unexpectedly: {error!r}"[:500])
        await self.database.transact(lambda unit: _join_answered(unit, name, refusal))

    async def get(self, name: NodeName) -> NodeView:
        """The node, or `NotFound`."""
        return await self.database.read(lambda unit: _view(unit, require_node(unit, name)))

    async def page(self, *, cursor: str | None, limit: int) -> NodePage:
        """At most `limit` nodes, by name."""
        after = "" if cursor is None else cursors.after_name(cursor)
        return await self.database.read(lambda unit: _page(unit, after, limit))

    async def delete(self, name: NodeName) -> None:
        """Forget the node; what it stores stays on it.

        Raises:
            NotFound: there is none of that name.
            Conflict: live jobs use it.
        """
        await self.database.transact(lambda unit: _delete(unit, name))


def address(url: HttpUrl) -> str:
    """`url` as addresses are kept: without a slash at the end.

    Raises:
        InvalidRequest: it holds more than scheme, host, port and path, or its host can be no name.
    """
    _require_host(url)
    if url.username or url.password or url.query is not None or url.fragment is not None:
        raise InvalidRequest(
            "a base_url has a scheme, a host, a port and perhaps a path: http://node1:9001",
            base_url=str(url),
        )
    return str(url).rstrip("/")


def _require_host(url: HttpUrl) -> None:
    try:
        httpx.URL(str(url)).host.encode("idna")
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidRequest(
            f"'{url.host}' is no valid host name ({error}): "
            "give the base_url a name that can be resolved, or an address",
            base_url=str(url),
        ) from error


def require_node(unit: Unit, name: NodeName) -> Node:
    """The node, or `NotFound` that says how to add it."""
    node = unit.nodes.get(name)
    if node is None:
        raise NotFound(
            f"there is no node '{name}': GET /nodes lists those there are, POST /nodes/register adds one",
            node=name,
        )
    return node


def disconnect(unit: Unit, session: leases.Session, *, reason: str) -> None:
    """End the session; its node is to be told to join, if that was the node's latest."""
    unit.sessions.put(leases.ended(session, reason=reason, now_ms=unit.now_ms))
    node = unit.nodes.get(session.node)
    if node is not None and node.session_id == session.id:
        unit.nodes.put(nodes.disconnect(node, seen_at_ms=session.renewed_at_ms, now_ms=unit.now_ms))
    fields = {"node": session.node, "boot_id": session.boot_id, "epoch": session.epoch}
    unit.note(Event(name=f"session.{reason}", fields=fields, wakes=[session.node], level="warning"))


def _register(unit: Unit, name: NodeName, base_url: str) -> bool:
    known = unit.nodes.get(name)
    node = nodes.register(known, name=name, base_url=base_url, now_ms=unit.now_ms)
    unit.nodes.put(node)
    unit.note(Event(name="node.registered", fields={"node": name, "base_url": base_url}))
    return node.session_id is None or known is None or known.base_url != base_url


def _join_answered(unit: Unit, name: NodeName, refusal: ReplicatorError | None) -> None:
    node = unit.nodes.get(name)
    if node is None:
        return
    if node.session_id is not None and refusal is not None and refusal.data.get("node") == name:
        # The right node is there and connected; it only knows this control plane by another URL.
        refusal = None
    problem = None if refusal is None else refusal.message
    unit.nodes.put(nodes.join_answered(node, problem=problem, now_ms=unit.now_ms))
    if problem is None:
        unit.note(Event(name="join.agreed", fields={"node": name}))
    else:
        unit.note(Event(name="join.failed", fields={"node": name, "problem": problem}, level="warning"))


def _page(unit: Unit, after: str, limit: int) -> NodePage:
    found = unit.nodes.page(after=after, limit=limit + 1)
    shown = found[:limit]
    more = len(found) > limit
    sessions = unit.sessions.get_many(frozenset(node.session_id for node in shown if node.session_id))
    limits = unit.limits.of_nodes(frozenset(node.name for node in shown))
    return NodePage(
        nodes=[
            node_view(node, sessions.get(node.session_id or ""), limits.get(node.name, NodeLimits()))
            for node in shown
        ],
        next_cursor=cursors.of_name(shown[-1].name) if more else None,
    )


def _view(unit: Unit, node: Node) -> NodeView:
    session = None if node.session_id is None else unit.sessions.get(node.session_id)
    return node_view(node, session, unit.limits.of_node(node.name))


def _delete(unit: Unit, name: NodeName) -> None:
    require_node(unit, name)
    jobs = unit.jobs.live_of_node(name, limit=_JOBS_NAMED_MAX)
    if jobs:
        raise Conflict(
            f"node '{name}' is used by live jobs ({', '.join(map(str, jobs))}); "
            "wait for them or cancel them first",
            node=name,
            jobs=list(jobs),
        )
    unit.nodes.delete(name)
    unit.note(Event(name="node.deleted", fields={"node": name}, wakes=[name]))
