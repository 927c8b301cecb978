"""Time-bounded rights: a node's session, and the lease of a task to it.

All times are database time in milliseconds; a right that ends at `t` is gone at `t`. Renewal goes with the
session, but a task's lease is renewed only while its node shows that it knows of the task, so a lease ends
with its session or before.
"""

from __future__ import annotations

from dataclasses import dataclass

from replicator.control_plane.domain.replacing import replace
from replicator.kernel.errors import Fenced
from replicator.kernel.names import NodeName


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who may work on a task, and until when."""

    session_id: str
    boot_id: str
    expires_at_ms: int


@dataclass(frozen=True, kw_only=True)
class Session:
    """One life of a node's process as the control plane knows it; `epoch` grows with each of the node's."""

    id: str
    node: NodeName
    boot_id: str
    release: str
    epoch: int
    opened_at_ms: int
    renewed_at_ms: int
    expires_at_ms: int
    ended_at_ms: int | None = None
    end_reason: str | None = None


def is_live(session: Session, now_ms: int) -> bool:
    """Whether the session still holds its rights."""
    return session.ended_at_ms is None and session.expires_at_ms > now_ms


def require_live(session: Session | None, *, boot_id: str, now_ms: int) -> Session:
    """`session`, if it is live and belongs to the process `boot_id`; otherwise raises `Fenced`."""
    if session is None:
        raise Fenced("there is no such session; open a new one")
    if session.boot_id != boot_id:
        raise Fenced("the session belongs to another process; open a new one", node=session.node)
    if not is_live(session, now_ms):
        raise Fenced(
            f"the session is over ({session.end_reason or 'expired'}); open a new one", node=session.node
        )
    return session


def renewed(session: Session, *, lease_ms: int, now_ms: int) -> Session:
    """`session`, good for `lease_ms` from now. A renewal never shortens it."""
    expires_at_ms = max(session.expires_at_ms, now_ms + lease_ms)
    return replace(session, renewed_at_ms=now_ms, expires_at_ms=expires_at_ms)


def ended(session: Session, *, reason: str, now_ms: int) -> Session:
    """`session`, over."""
    return replace(session, ended_at_ms=now_ms, end_reason=reason)
