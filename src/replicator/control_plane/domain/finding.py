"""What is looked at to explain why something is in its state, and what is found. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue

from replicator.control_plane.domain.duty import DutyLease
from replicator.control_plane.domain.lease import Session
from replicator.control_plane.domain.limits import LinkLimit, NodeLimits
from replicator.control_plane.domain.node import Node
from replicator.control_plane.domain.policy import RetryPolicy
from replicator.kernel.names import NodeName
from replicator.wire.sessions import ErrorInfo

Links = Mapping[tuple[NodeName, NodeName], int]
_UNLIMITED = NodeLimits()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One reason for a state: a sentence, and what would change it; None where nothing can, or need.

    `kind` is its name, the same for all of its kind. `waiting_for` says in a few words for what it is that nothing
    moves; None where something does, or has ended.
    """

    kind: str
    because: str
    would_change: str | None
    data: Mapping[str, JsonValue] = field(default_factory=dict)
    waiting_for: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What surrounds a job, a task or a node, as far as it bears on them.

    `nodes` are those that are named, `sessions` and `limits` theirs, and `links` the limits of the links between
    them. `in_hand` counts the tasks that are leased on each link; it needs to be right only where there is a limit,
    and is None where nobody has counted. `planner` is the lease of planning, if anybody ever had it.
    """

    now_ms: int
    nodes: Mapping[NodeName, Node] = field(default_factory=dict)
    sessions: Mapping[NodeName, Session] = field(default_factory=dict)
    limits: Mapping[NodeName, NodeLimits] = field(default_factory=dict)
    links: Mapping[tuple[NodeName, NodeName], LinkLimit] = field(default_factory=dict)
    in_hand: Links | None = None
    planner: DutyLease | None = None
    policy: RetryPolicy | None = None


@dataclass(frozen=True, slots=True)
class Full:
    """A limit of tasks at a time that is reached; `set_by` is the request that changes it."""

    kind: str
    in_words: str
    waiting_for: str
    count: int
    most: int
    set_by: str


def fullness(src_node: NodeName, dst_node: NodeName, scene: Scene) -> Iterator[Full]:
    """The limits that keep a task from `src_node` to `dst_node` from being handed out."""
    in_hand = scene.in_hand or {}
    own, serves = scene.limits.get(dst_node, _UNLIMITED), scene.limits.get(src_node, _UNLIMITED)
    link = scene.links.get((src_node, dst_node))
    count, most = taken_in(in_hand, dst_node), own.tasks_max
    if most is not None and count >= most:
        words = f"{plural(count, 'task')} of {dst_node} are in hand"
        waits = f"a place at {dst_node}: {count} of {most:,} tasks are in hand there"
        yield Full("node-full", words, waits, count, most, f"PUT /nodes/{dst_node}/limits")
    count, most = served(in_hand, src_node), serves.serves_max
    if most is not None and count >= most:
        words = f"{plural(count, 'task')} in hand read from {src_node}"
        waits = f"a place at {src_node}: {count} of {most:,} tasks read from it"
        yield Full("source-full", words, waits, count, most, f"PUT /nodes/{src_node}/limits")
    count, most = in_hand.get((src_node, dst_node), 0), None if link is None else link.tasks_max
    if most is not None and count >= most:
        words = f"{plural(count, 'task')} in hand use the link from {src_node} to {dst_node}"
        waits = f"a place on the link from {src_node} to {dst_node}: {count} of {most:,} tasks use it"
        yield Full("link-full", words, waits, count, most, f"PUT /links/{src_node}/{dst_node}")


def moment(ms: int) -> datetime:
    """Database time as a moment."""
    return _EPOCH + timedelta(milliseconds=ms)


def at(ms: int) -> str:
    """Database time as RFC 3339 in UTC."""
    return moment(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def maybe_at(ms: int | None) -> str | None:
    """As `at`; None for None."""
    return None if ms is None else at(ms)


def is_connected(name: NodeName, scene: Scene) -> bool:
    """Whether the node has a session."""
    node = scene.nodes.get(name)
    return node is not None and node.session_id is not None


def taken_in(in_hand: Links, node: NodeName) -> int:
    """How many tasks `node` has in hand."""
    return sum(count for (_, destination), count in in_hand.items() if destination == node)


def served(in_hand: Links, node: NodeName) -> int:
    """How many tasks that are in hand read from `node`."""
    return sum(count for (source, _), count in in_hand.items() if source == node)


def absence(name: NodeName, scene: Scene) -> str:
    """Since when a node has had no session, and what was wrong when it was told to open one."""
    node = scene.nodes.get(name)
    if node is None:
        return "is not registered"
    since = "" if node.disconnected_at_ms is None else f" since {at(node.disconnected_at_ms)}"
    said = f"has not been connected{since}" if node.session_epoch else f"has never connected, known{since}"
    return said if node.problem is None else f"{said}; telling it to join failed: {node.problem}"


def reason(error: ErrorInfo | None) -> str:
    """An error in words."""
    return "no reason was given" if error is None else f"{error.message} ({error.code}, {error.error_class})"


def told(error: ErrorInfo | None) -> dict[str, JsonValue]:
    """An error as data."""
    return {"error": None if error is None else error.model_dump(by_alias=True)}


def plural(count: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(items: Iterable[object], *, most: int = 10) -> list[JsonValue]:
    """The first of `items` as data."""
    return [item if isinstance(item, int) else str(item) for item, _ in zip(items, range(most), strict=False)]
