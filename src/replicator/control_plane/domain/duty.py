"""The lease of a duty: who may do what only one replica may do, and until when. Pure.

All times are database time in milliseconds; a lease that ends at `t` is gone at `t`. Its term grows whenever it
changes hands, and whenever it had lapsed before the same replica took it again: within one term there is one holder,
without a gap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Group(StrEnum):
    """Duties that go together, under one lease."""

    PLAN = "plan"
    SWEEP = "sweep"
    JOIN = "join"
    PRUNE = "prune"


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyLease:
    """The lease of one group. `acquired_at_ms` is when this term began."""

    name: str
    holder: str
    term: int
    acquired_at_ms: int
    expires_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A lease that is the asker's. It is to be stored where it is `changed`; `begins` says that this is a new term."""

    lease: DutyLease
    begins: bool = False
    changed: bool = False


def is_live(lease: DutyLease, now_ms: int) -> bool:
    """Whether the holder still has it."""
    return lease.expires_at_ms > now_ms


def is_renewal_due(lease: DutyLease, *, lease_ms: int, now_ms: int) -> bool:
    """Whether a third of it has gone by; also where it lasts longer than one would now, for time went back."""
    return renewal_in_ms(lease, lease_ms=lease_ms, now_ms=now_ms) <= 0


def renewal_in_ms(lease: DutyLease, *, lease_ms: int, now_ms: int) -> int:
    """How long until then; 0 or less if it is due."""
    left_ms = lease.expires_at_ms - now_ms
    return 0 if left_ms > lease_ms else left_ms - 2 * lease_ms // 3


def hold(
    lease: DutyLease | None, *, group: Group, replica: str, lease_ms: int, now_ms: int, by_force: bool = False
) -> Hold | None:
    """What `replica` holds if it asks for the lease of `group`, of which `lease` is stored; None: another has it.

    With `by_force` nobody else can have it: who is written there has ended.
    """
    if lease is not None and is_live(lease, now_ms) and not by_force:
        if lease.holder != replica:
            return None
        if not is_renewal_due(lease, lease_ms=lease_ms, now_ms=now_ms):
            return Hold(lease=lease)
        return Hold(lease=replace(lease, expires_at_ms=now_ms + lease_ms), changed=True)
    begun = DutyLease(
        name=group,
        holder=replica,
        term=1 if lease is None else lease.term + 1,
        acquired_at_ms=now_ms,
        expires_at_ms=now_ms + lease_ms,
    )
    return Hold(lease=begun, begins=True, changed=True)


def released(lease: DutyLease, *, now_ms: int) -> DutyLease:
    """`lease`, over: whoever asks next has it."""
    return replace(lease, expires_at_ms=now_ms)
