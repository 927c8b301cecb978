"""Nodes: added, shown, removed, and told to join."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from pydantic import HttpUrl

from replicator.control_plane.domain import lease as leases
from replicator.control_plane.domain import node as nodes
from replicator.control_plane.domain.finding import taken_in
from replicator.control_plane.domain.limits import NodeLimits
from replicator.control_plane.domain.node import Node
from replicator.control_plane.ports import Database, Event, Joiner, Unit, source_topic
from replicator.control_plane.services import cursors
from replicator.control_plane.services.views import node_view
from replicator.kernel.errors import Conflict, InvalidRequest, NotFound, ReplicatorError
from replicator.kernel.names import NodeName
from replicator.runtime.logging import get_logger
from replicator.wire.nodes import ChangeNode, NodePage, NodeStatus, NodeView, RegisterNode
from replicator.wire.values import LABELS_MAX

log = get_logger()
_JOBS_NAMED_MAX = 5
_NODES_LOOKED_AT, _PAGES_LOOKED_AT = 500, 10
"""At a time, and how often, for one page of those that are wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which nodes a list is to show: those for which everything that is named is so."""

    zone: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    status: NodeStatus | None = None

    def accepts(self, node: Node) -> bool:
        """Whether `node` is one of them."""
        status = "disconnected" if node.session_id is None else "connected"
        return (
            self.zone in {None, node.zone}
            and self.status in {None, status}
            and all(node.labels.get(key) == value for key, value in self.labels)
        )


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
        tell = await self.database.transact(lambda unit: _register(unit, name, base_url, request))
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

    async def page(self, *, cursor: str | None, limit: int, wanted: Wanted) -> NodePage:
        """At most `limit` of the nodes that are `wanted`, by name; fewer where many have to be passed over."""
        after = "" if cursor is None else cursors.after_name(cursor)
        return await self.database.read(lambda unit: _page(unit, after, limit, wanted))

    async def change(self, name: NodeName, change: ChangeNode) -> NodeView:
        """Other labels, another zone, into maintenance or out of it; what `change` does not set stays.

        Raises:
            NotFound: there is none of that name.
            InvalidRequest: it would have too many labels.
        """
        return await self.database.transact(lambda unit: _change(unit, name, change))

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


def label_of(text: str) -> tuple[str, str]:
    """The label in `key=value`; raises `InvalidRequest`."""
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise InvalidRequest(f"'{text}' is no label: write it as key=value")
    return key, value


def _register(unit: Unit, name: NodeName, base_url: str, request: RegisterNode) -> bool:
    known = unit.nodes.get(name)
    node = nodes.register(known, name=name, base_url=base_url, now_ms=unit.now_ms)
    if request.labels is not None:
        node = nodes.labelled(node, request.labels, now_ms=unit.now_ms)
    if request.zone is not None:
        node = nodes.located(node, request.zone, now_ms=unit.now_ms)
    unit.nodes.put(node)
    unit.note(Event(name="node.registered", fields={"node": name, "base_url": base_url}))
    return node.session_id is None or known is None or known.base_url != base_url


def _change(unit: Unit, name: NodeName, change: ChangeNode) -> NodeView:
    known = node = require_node(unit, name)
    if "labels" in change.model_fields_set:
        node = nodes.labelled(node, _merged(node, change.labels), now_ms=unit.now_ms)
    if "zone" in change.model_fields_set:
        node = nodes.located(node, change.zone, now_ms=unit.now_ms)
    if change.maintenance is not None:
        node = nodes.maintained(node, change.maintenance, now_ms=unit.now_ms)
    unit.nodes.put(node)
    # Those that passed over what it has wait for it as a source.
    ends = known.maintenance and not node.maintenance
    fields = {"node": name, **change.model_dump(exclude_unset=True)}
    unit.note(Event(name="node.changed", fields=fields, wakes=[name, source_topic(name)] if ends else []))
    return _view(unit, node)


def _merged(node: Node, change: Mapping[str, str | None] | None) -> Mapping[str, str] | None:
    if change is None:
        return None
    labels = {key: value for key, value in {**node.labels, **change}.items() if value is not None}
    if len(labels) > LABELS_MAX:
        raise InvalidRequest(f"'{node.name}' would have {len(labels)} labels, and {LABELS_MAX} is the limit")
    return labels


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


def _page(unit: Unit, after: str, limit: int, wanted: Wanted) -> NodePage:
    found, seen_to = _find(unit, after, limit, wanted)
    shown = found[:limit]
    go_on = shown[-1].name if len(found) > limit else seen_to
    sessions = unit.sessions.get_many(frozenset(node.session_id for node in shown if node.session_id))
    names = frozenset(node.name for node in shown)
    limits, in_hand = unit.limits.of_nodes(names), unit.tasks.links_in_hand(names)
    return NodePage(
        nodes=[
            node_view(
                node,
                sessions.get(node.session_id or ""),
                limits.get(node.name, NodeLimits()),
                tasks_in_hand=taken_in(in_hand, node.name),
            )
            for node in shown
        ],
        next_cursor=None if go_on is None else cursors.of_name(go_on),
    )


def _find(unit: Unit, after: str, limit: int, wanted: Wanted) -> tuple[list[Node], NodeName | None]:
    """One node more than `limit`, where there are so many; otherwise to which name was looked, None for the end."""
    found: list[Node] = []
    page_nodes = limit + 1 if wanted == Wanted() else max(limit + 1, _NODES_LOOKED_AT)
    for _ in range(_PAGES_LOOKED_AT):
        looked_at = unit.nodes.page(after=after, limit=page_nodes)
        found.extend(node for node in looked_at if wanted.accepts(node))
        if len(looked_at) < page_nodes or len(found) > limit:
            return found, None
        after = looked_at[-1].name
    return found, NodeName(after)


def _view(unit: Unit, node: Node) -> NodeView:
    session = None if node.session_id is None else unit.sessions.get(node.session_id)
    in_hand = taken_in(unit.tasks.links_in_hand(frozenset({node.name})), node.name)
    return node_view(node, session, unit.limits.of_node(node.name), tasks_in_hand=in_hand)


def _delete(unit: Unit, name: NodeName) -> None:
    require_node(unit, name)
    jobs = unit.jobs.live_of_node(name, limit=_JOBS_NAMED_MAX)
    if jobs:
        raise Conflict(
            f"node '{name}' is used by live jobs ({', '.join(map(str, jobs))}); put it in maintenance, so that no "
            "more of them is begun there, and wait for them or cancel them",
            node=name,
            jobs=list(jobs),
        )
    unit.nodes.delete(name)
    unit.note(Event(name="node.deleted", fields={"node": name}, wakes=[name]))
