"""Nodes: where they are, whether they are connected, and when to tell them to join."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from replicator.kernel.names import NodeName

JOIN_DELAY_MS_MIN = 1_000
JOIN_DELAY_MS_MAX = 60_000
_DOUBLINGS_MAX = 6
_REGISTRATION_MS = 5_000
_AGREEMENTS_TRUSTED = 2
_SILENT = "it agreed to join but has opened no session; can it reach the control plane's advertised URL?"


class AddressOrigin(StrEnum):
    """Who said where a node is. What a person said is not replaced by what the node believes."""

    OPERATOR = "operator"
    NODE = "node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node. `session_id` is that of its live session; `join_at_ms` is set only while it has none.

    `rpc_url` is where its gRPC service was when it last opened a session; None where it has none.
    `session_epoch` counts the sessions it has had, `join_tries` how often it was told to join since the last;
    `disconnected_at_ms` is since when it has had none.
    """

    name: NodeName
    base_url: str
    address_origin: AddressOrigin
    rpc_url: str | None = None
    session_id: str | None = None
    session_epoch: int = 0
    seen_at_ms: int | None = None
    disconnected_at_ms: int | None
    problem: str | None = None
    join_tries: int = 0
    join_at_ms: int | None
    registered_at_ms: int
    updated_at_ms: int


def register(known: Node | None, *, name: NodeName, base_url: str, now_ms: int) -> Node:
    """The node as a person describes it; a new address is tried afresh."""
    if known is None:
        return _unconnected(name, base_url, AddressOrigin.OPERATOR, now_ms)
    moved = known.base_url != base_url
    return replace(
        known,
        base_url=base_url,
        address_origin=AddressOrigin.OPERATOR,
        join_tries=0 if moved else known.join_tries,
        updated_at_ms=now_ms,
    )


def connect(
    known: Node | None,
    *,
    name: NodeName,
    session_id: str,
    base_url: str,
    rpc_url: str | None = None,
    now_ms: int,
) -> Node:
    """The node, with a session; one that was unknown registers itself with the address it gives."""
    node = known or _unconnected(name, base_url, AddressOrigin.NODE, now_ms)
    by_operator = node.address_origin is AddressOrigin.OPERATOR
    return replace(
        node,
        base_url=node.base_url if by_operator else base_url,
        rpc_url=rpc_url,
        session_id=session_id,
        session_epoch=node.session_epoch + 1,
        seen_at_ms=now_ms,
        disconnected_at_ms=None,
        problem=None,
        join_tries=0,
        join_at_ms=None,
        updated_at_ms=now_ms,
    )


def disconnect(node: Node, *, seen_at_ms: int, now_ms: int) -> Node:
    """The node without a session, to be told to join soon."""
    return replace(
        node,
        session_id=None,
        seen_at_ms=seen_at_ms,
        disconnected_at_ms=now_ms,
        join_at_ms=now_ms + JOIN_DELAY_MS_MIN,
        updated_at_ms=now_ms,
    )


def join_answered(node: Node, *, problem: str | None, now_ms: int) -> Node:
    """The node after it was told to join. It is told again, ever more rarely, until it has a session."""
    if node.session_id is not None:
        return replace(node, problem=problem)
    if problem is None and node.join_tries >= _AGREEMENTS_TRUSTED:
        problem = _SILENT
    delay_ms = min(JOIN_DELAY_MS_MIN * 2 ** min(node.join_tries, _DOUBLINGS_MAX), JOIN_DELAY_MS_MAX)
    return replace(node, problem=problem, join_tries=node.join_tries + 1, join_at_ms=now_ms + delay_ms)


def _unconnected(name: NodeName, base_url: str, origin: AddressOrigin, now_ms: int) -> Node:
    return Node(
        name=name,
        base_url=base_url,
        address_origin=origin,
        disconnected_at_ms=now_ms,
        # Whoever registers it tells it at once; this is for the case that they cannot.
        join_at_ms=now_ms + _REGISTRATION_MS,
        registered_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
