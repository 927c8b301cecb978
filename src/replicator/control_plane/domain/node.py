"""Nodes: where they are, whether they are connected, and when to tell them to join."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

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


class Space(NamedTuple):
    """Of the disk that a node keeps its store on."""

    bytes_total: int
    bytes_free: int


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node. `session_id` is that of its live session; `join_at_ms` is set only while it has none.

    `rpc_url` is where its gRPC service was when it last opened a session; None where it has none.
    `session_epoch` counts the sessions it has had, `join_tries` how often it was told to join since the last;
    `disconnected_at_ms` is since when it has had none. A node in `maintenance` is given no new work, and none that
    reads from it. `labels` and `zone` are what the node says of itself where they are not `…_by_operator`.
    `bytes_total` and `bytes_free` are those of its disk, as it last reported them.
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
    labels: Mapping[str, str] = field(default_factory=dict)
    labels_by_operator: bool = False
    zone: str | None = None
    zone_by_operator: bool = False
    maintenance: bool = False
    bytes_total: int | None = None
    bytes_free: int | None = None
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


def labelled(node: Node, labels: Mapping[str, str] | None, *, now_ms: int) -> Node:
    """The node as an operator labels it; None for what the node says of itself, from its next session on."""
    by_operator = labels is not None
    return replace(node, labels=labels or {}, labels_by_operator=by_operator, updated_at_ms=now_ms)


def located(node: Node, zone: str | None, *, now_ms: int) -> Node:
    """The node where an operator says it is; None for what the node says of itself, from its next session on."""
    return replace(node, zone=zone, zone_by_operator=zone is not None, updated_at_ms=now_ms)


def maintained(node: Node, maintenance: bool, *, now_ms: int) -> Node:
    """The node, taken out of service or put back; what it has in hand goes on."""
    return replace(node, maintenance=maintenance, updated_at_ms=now_ms)


def measured(node: Node, space: Space | None) -> Node:
    """The node with the space of its disk, where it has reported any."""
    if space is None or (node.bytes_total, node.bytes_free) == space:
        return node
    return replace(node, bytes_total=space.bytes_total, bytes_free=space.bytes_free)


def connect(
    known: Node | None,
    *,
    name: NodeName,
    session_id: str,
    base_url: str,
    rpc_url: str | None = None,
    labels: Mapping[str, str] | None = None,
    zone: str | None = None,
    now_ms: int,
) -> Node:
    """The node, with a session; one that was unknown registers itself with the address it gives.

    `labels` and `zone` are what it says of itself: they count where no operator has said otherwise.
    """
    node = known or _unconnected(name, base_url, AddressOrigin.NODE, now_ms)
    by_operator = node.address_origin is AddressOrigin.OPERATOR
    return replace(
        node,
        labels=node.labels if node.labels_by_operator else labels or {},
        zone=node.zone if node.zone_by_operator else zone,
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
