"""Who does the duties that only one replica may do: synchronous work inside the unit in which the duty is done.

There is no leader. Each group of duties has a lease, a row in the database, and a unit that does a page of a duty
first makes sure, by its own database time, that the lease is this replica's. Units that write take effect one after
another, so nobody else can take the lease between that look and the commit: a replica that was stopped past its
lease either finds itself without it, or never had its unit committed. What a replica remembers decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from replicator.control_plane.domain import duty
from replicator.control_plane.domain.duty import DutyLease, Group
from replicator.control_plane.ports import SCHEDULER_TOPIC, Event, Unit

EXCLUSIVE_LEASE_MS = 365 * 86_400_000
"""Where no other process can have the database there is nobody to hand a duty to."""


def duty_topic(group: Group) -> str:
    """Woken when the lease of `group` was given back. No node can have that name."""
    return f"*duty-{group}*"


def work_topic(group: Group) -> str:
    """Woken when the holder of `group` has something to do."""
    return SCHEDULER_TOPIC if group is Group.PLAN else duty_topic(group)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leadership:
    """What one replica, by the name of `replica`, holds. `on_begin` is done in the unit that begins a term."""

    replica: str
    lease_ms: int
    on_begin: Mapping[Group, Callable[[Unit], None]] = field(default_factory=dict)

    def hold(self, unit: Unit, group: Group) -> DutyLease | None:
        """The lease, if it is this replica's or free, good for some time from now; None: another has it."""
        return self._hold(unit, group, by_force=False)

    def take_all(self, unit: Unit) -> None:
        """Begin a term of every duty, whoever had it: only where that process has surely ended."""
        for group in Group:
            self._hold(unit, group, by_force=True)

    def release(self, unit: Unit) -> None:
        """Let others have what this replica holds, at once."""
        held = [lease for lease in unit.duties.all() if self.has(lease) and duty.is_live(lease, unit.now_ms)]
        for lease in held:
            unit.duties.put(duty.released(lease, now_ms=unit.now_ms))
        if held:
            names = [lease.name for lease in held]
            wakes = [duty_topic(Group(name)) for name in names]
            unit.note(
                Event(name="duties.released", fields={"duties": names, "replica": self.replica}, wakes=wakes)
            )

    def has(self, lease: DutyLease) -> bool:
        """Whether `lease`, live or not, is this replica's."""
        return lease.holder == self.replica

    def _hold(self, unit: Unit, group: Group, *, by_force: bool) -> DutyLease | None:
        before = unit.duties.get(group)
        held = duty.hold(
            before,
            group=group,
            replica=self.replica,
            lease_ms=self.lease_ms,
            now_ms=unit.now_ms,
            by_force=by_force,
        )
        if held is None:
            return None
        if held.changed:
            unit.duties.put(held.lease)
        if held.begins:
            fields = {"replica": self.replica, "term": held.lease.term}
            fields |= {} if before is None else {"before": before.holder}
            unit.note(Event(name=f"duty.{group}", fields=fields))
            self.on_begin.get(group, _nothing)(unit)
        return held.lease


def _nothing(_: Unit) -> None:
    return
