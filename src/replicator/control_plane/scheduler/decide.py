"""What the control plane should do by itself just now, and when to look again. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Duty(StrEnum):
    """One kind of work. Each is done in its own transactions and may be done again without harm."""

    PLAN = "plan"
    START = "start"
    DEADLINE = "deadline"
    EXPIRE_SESSIONS = "expire-sessions"
    TAKE_BACK = "take-back"
    RELEASE = "release"
    GIVE_UP = "give-up"
    JOIN = "join"
    PRUNE = "prune"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """When each kind of work is next due, in database time; None where there is none.

    `absent_since_ms` is the longest that a ready task has waited for a node that is not connected.
    """

    now_ms: int
    jobs_to_plan: bool = False
    next_start_ms: int | None = None
    next_deadline_ms: int | None = None
    next_session_expiry_ms: int | None = None
    next_lease_expiry_ms: int | None = None
    next_backoff_end_ms: int | None = None
    absent_since_ms: int | None = None
    next_join_ms: int | None = None
    next_prune_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is due now, and how long until there may be more, in milliseconds."""

    duties: frozenset[Duty]
    sleep_ms: int


def decide(snapshot: Snapshot, *, park_ms_max: int, sleep_ms_max: int) -> Decision:
    """What `snapshot` calls for. Sleeps at most `sleep_ms_max`, for others may change the database."""
    absent_ms = snapshot.absent_since_ms
    moments = {
        Duty.PLAN: snapshot.now_ms if snapshot.jobs_to_plan else None,
        Duty.START: snapshot.next_start_ms,
        Duty.DEADLINE: snapshot.next_deadline_ms,
        Duty.EXPIRE_SESSIONS: snapshot.next_session_expiry_ms,
        Duty.TAKE_BACK: snapshot.next_lease_expiry_ms,
        Duty.RELEASE: snapshot.next_backoff_end_ms,
        Duty.GIVE_UP: None if absent_ms is None else absent_ms + park_ms_max,
        Duty.JOIN: snapshot.next_join_ms,
        Duty.PRUNE: snapshot.next_prune_ms,
    }
    due = frozenset(duty for duty, at_ms in moments.items() if at_ms is not None and at_ms <= snapshot.now_ms)
    later = (at_ms for at_ms in moments.values() if at_ms is not None and at_ms > snapshot.now_ms)
    return Decision(duties=due, sleep_ms=_until(later, snapshot.now_ms, sleep_ms_max))


def _until(moments: Iterable[int], now_ms: int, sleep_ms_max: int) -> int:
    return min([sleep_ms_max, *(at_ms - now_ms for at_ms in moments)])
