"""Why a node gets work or none, and what would change it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from replicator.control_plane.domain.finding import (
    Finding,
    Scene,
    absence,
    at,
    is_connected,
    maybe_at,
    plural,
    served,
    taken_in,
)
from replicator.control_plane.domain.limits import NodeLimits
from replicator.control_plane.domain.node import Node

TASKS_COUNTED_MAX = 100
_LIMITS = {
    "ingress_bytes_per_s": "{:,} bytes a second in",
    "egress_bytes_per_s": "{:,} bytes a second out",
    "tasks_max": "{:,} tasks in hand",
    "serves_max": "{:,} tasks in hand that read from it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Tasks that wait for a node, counted to `TASKS_COUNTED_MAX` each."""

    ready: int = 0
    parked: int = 0


def of_node(node: Node, waiting: Waiting, scene: Scene) -> Iterator[Finding]:
    """What there is to say of `node`, what matters most first."""
    yield _session(node, scene)
    if node.problem is not None:
        yield Finding(
            kind="join-problem",
            because=f"telling {node.name} at {node.base_url} to join failed: {node.problem}",
            would_change="a process of that name answering there, or another address: POST /nodes/register",
            data={"base_url": node.base_url, "problem": node.problem, "next_at": maybe_at(node.join_at_ms)},
        )
    if node.maintenance:
        yield _maintenance(node, scene)
    yield _in_hand(node, scene)
    yield from _limits(node, scene)
    yield from _waiting(node, waiting)
    if node.bytes_total is not None:
        yield Finding(
            kind="space",
            because=f"{node.bytes_free:,} of {node.bytes_total:,} bytes of its disk were free when it last said so",
            would_change=None,
            data={"bytes_free": node.bytes_free, "bytes_total": node.bytes_total},
        )


def _session(node: Node, scene: Scene) -> Finding:
    session = scene.sessions.get(node.name)
    if session is None or not is_connected(node.name, scene):
        next_at = "" if node.join_at_ms is None else f"; it is told to at {at(node.join_at_ms)}"
        return Finding(
            kind="disconnected",
            because=f"{node.name} {absence(node.name, scene)}"
            + ("" if node.seen_at_ms is None else f"; last heard of at {at(node.seen_at_ms)}"),
            would_change=f"its process opening a session{next_at}",
            data={"since": maybe_at(node.disconnected_at_ms), "seen_at": maybe_at(node.seen_at_ms)},
        )
    return Finding(
        kind="connected",
        because=f"{node.name} has had session {session.id} since {at(session.opened_at_ms)}; it renewed it last at "
        f"{at(session.renewed_at_ms)}, and it lasts until {at(session.expires_at_ms)}",
        would_change="its process ending, or no poll of it arriving until then",
        data={
            "session_id": session.id,
            "boot_id": session.boot_id,
            "release": session.release,
            "lease_expires_at": at(session.expires_at_ms),
        },
    )


def _maintenance(node: Node, scene: Scene) -> Finding:
    left = 0 if scene.in_hand is None else sum(scene.in_hand.values())
    state = "nothing is in hand any more" if not left else f"{plural(left, 'task')} in hand go on"
    return Finding(
        kind="maintenance",
        because=f"{node.name} is in maintenance: no new task of it or from it is handed out; {state}",
        would_change=f'the end of it: PATCH /nodes/{node.name} {{"maintenance": false}}',
        data={"in_hand": left},
    )


def _in_hand(node: Node, scene: Scene) -> Finding:
    in_hand = scene.in_hand or {}
    taken, given = taken_in(in_hand, node.name), served(in_hand, node.name)
    return Finding(
        kind="in-hand",
        because=f"{node.name} has {plural(taken, 'task')} in hand, and {plural(given, 'task')} in hand elsewhere read "
        "from it",
        would_change=None,
        data={"tasks_in_hand": taken, "serves": given},
    )


def _limits(node: Node, scene: Scene) -> Iterator[Finding]:
    limits = scene.limits.get(node.name, NodeLimits())
    held_to = {name: limit for name in _LIMITS if (limit := getattr(limits, name)) is not None}
    if not held_to:
        return
    is_full = limits.tasks_max is not None and taken_in(scene.in_hand or {}, node.name) >= limits.tasks_max
    words = ", ".join(_LIMITS[name].format(limit) for name, limit in held_to.items())
    yield Finding(
        kind="node-full" if is_full else "limits",
        because=f"{node.name} is held to {words}" + (", and takes no more just now" if is_full else ""),
        would_change=f"other limits: PUT /nodes/{node.name}/limits",
        data=held_to,
    )


def _waiting(node: Node, waiting: Waiting) -> Iterator[Finding]:
    if waiting.ready:
        yield Finding(
            kind="work-ready",
            because=f"{_counted(waiting.ready)} ready for {node.name}",
            would_change="the node taking them, in their turn",
            data={"tasks": waiting.ready},
        )
    if waiting.parked:
        yield Finding(
            kind="work-parked",
            because=f"{_counted(waiting.parked)} parked until {node.name} can be reached",
            would_change=f"{node.name} opening a session, or their next attempts",
            data={"tasks": waiting.parked},
        )


def _counted(count: int) -> str:
    least = "at least " if count >= TASKS_COUNTED_MAX else ""
    return f"{least}{plural(count, 'task')} {'is' if count == 1 else 'are'}"
