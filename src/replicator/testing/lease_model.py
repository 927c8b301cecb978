"""Models of the leases of duties and of tasks, small enough to be explored in full (`testing.explorer`).

Time is kept as what is left of each lease, so it needs no bound: terms, epochs and messages have one. Any actor may
be stopped at any point for as long as it takes: then its next step is simply late. Flaws can be put in, and must
then be found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from replicator.control_plane.domain import duty
from replicator.control_plane.domain.duty import DutyLease, Group
from replicator.testing.explorer import Broken

DutyFlaw = Literal["checked-before", "process-clock", "not-in-turn", "term-kept"]
_LEASE = 3


class Unit(NamedTuple):
    """A transaction that has not been committed: what it would store, and under which term it does its duty."""

    lease: DutyLease | None
    term: int


class Replicas(NamedTuple):
    """The row of one duty, its true holder, who has the turn to write, and the open unit of each replica.

    `believed` is the term that a replica took to be its own when it looked.
    """

    lease: DutyLease | None
    turn: int | None
    units: tuple[Unit | None, ...]
    believed: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class DutyModel:
    """`replicas` that want to do one duty, up to a number of terms. A unit is begun (the turn is taken and database
    time is read with it), then committed, or undone by the database, which takes the turn from who is silent."""

    replicas: int = 3
    terms_max: int = 4
    flaw: DutyFlaw | None = None

    def start(self) -> Replicas:
        """Nobody ever had it."""
        nobody = (None,) * self.replicas
        return Replicas(lease=None, turn=None, units=nobody, believed=(0,) * self.replicas)

    def is_goal(self, state: Replicas) -> bool:
        """Even the last replica can come to do the duty."""
        lease = state.lease
        return lease is not None and (
            lease.term >= self.terms_max
            or (lease.holder == str(self.replicas - 1) and lease.expires_at_ms > 0)
        )

    def steps(self, state: Replicas) -> Iterator[tuple[str, Replicas]]:
        """See `explorer.Model`."""
        yield "tick", _tick(state)
        for who in range(self.replicas):
            unit = state.units[who]
            if unit is not None:
                yield f"{who} commits", self._committed(state, who, unit)
                yield f"{who} is undone", _closed(state, who)
            elif state.turn is None or self.flaw == "not-in-turn":
                begun = self._begun(state, who)
                if begun is not None:
                    yield f"{who} begins", begun
                yield f"{who} gives back", _given_back(state, who)
            if self.flaw == "checked-before" and unit is None:
                yield f"{who} looks", _looked(state, who)

    def _begun(self, state: Replicas, who: int) -> Replicas | None:
        if self.flaw == "checked-before" and state.believed[who]:
            return _opened(state, who, Unit(None, state.believed[who]))
        # A process whose clock is ahead by one, where the database's is not asked.
        now_ms = 1 if self.flaw == "process-clock" else 0
        held = duty.hold(state.lease, group=Group.SWEEP, replica=str(who), lease_ms=_LEASE, now_ms=now_ms)
        if held is None or held.lease.term > self.terms_max:
            return None
        lease = replace(held.lease, acquired_at_ms=0)
        if self.flaw == "term-kept" and state.lease is not None:
            lease = replace(lease, term=state.lease.term)
        return _opened(state, who, Unit(lease, lease.term))

    def _committed(self, state: Replicas, who: int, unit: Unit) -> Replicas:
        before = state.lease
        if before is not None and unit.term < before.term:
            raise Broken(f"{who} did the duty of an earlier term")
        if before is not None and unit.term == before.term and before.holder != str(who):
            raise Broken("two replicas did the duty in one term")
        if before is not None and before.holder != str(who) and before.expires_at_ms > 0:
            raise Broken("a lease was taken that had not run out")
        return _closed(state._replace(lease=unit.lease or before), who)


def _tick(state: Replicas) -> Replicas:
    units = tuple(
        None if unit is None else unit._replace(lease=None if unit.lease is None else _older(unit.lease))
        for unit in state.units
    )
    lease = None if state.lease is None else _older(state.lease)
    return state._replace(lease=lease, units=units)


def _older(lease: DutyLease) -> DutyLease:
    return replace(lease, expires_at_ms=max(0, lease.expires_at_ms - 1))


def _opened(state: Replicas, who: int, unit: Unit) -> Replicas:
    return state._replace(turn=who, units=_with(state.units, who, unit))


def _closed(state: Replicas, who: int) -> Replicas:
    return state._replace(turn=None, units=_with(state.units, who, None))


def _given_back(state: Replicas, who: int) -> Replicas:
    lease = state.lease
    if lease is None or lease.holder != str(who):
        return state
    return state._replace(lease=duty.released(lease, now_ms=0))


def _looked(state: Replicas, who: int) -> Replicas:
    lease = state.lease
    ours = lease is not None and lease.holder == str(who) and lease.expires_at_ms > 0
    term = lease.term if lease is not None and ours else 0
    return state._replace(
        believed=tuple(term if each == who else old for each, old in enumerate(state.believed))
    )


def _with(units: tuple[Unit | None, ...], who: int, unit: Unit | None) -> tuple[Unit | None, ...]:
    return (*units[:who], unit, *units[who + 1 :])
