"""The loops that do what `decide` says is due: one for each group of duties, on every replica.

A loop looks first, which costs little and decides nothing. What it then does goes through `Leadership.hold` in the
very unit that does it. A replica that does not hold a group's lease looks again when that has run out, or was given
back; at least every second, so that it takes over within the lease and a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TypeVar

from replicator.control_plane.domain import duty
from replicator.control_plane.domain.duty import Group
from replicator.control_plane.domain.policy import RetryPolicy
from replicator.control_plane.events import Wakeups
from replicator.control_plane.ports import Database, Unit
from replicator.control_plane.scheduler import duties, pruning, timing
from replicator.control_plane.scheduler.decide import Duty, Snapshot, decide
from replicator.control_plane.scheduler.leadership import (
    EXCLUSIVE_LEASE_MS,
    Leadership,
    duty_topic,
    work_topic,
)
from replicator.control_plane.scheduler.pruning import Keeping
from replicator.control_plane.services.registry import Registry
from replicator.kernel.errors import StoreFailed, Unavailable
from replicator.runtime.logging import get_logger

Answer = TypeVar("Answer")

_SLEEP_MS_MAX = 1000
_SLEEP_AFTER_FAILURE_S = 1.0
_AFTER_LEASE_MS = 20
"""A lease is looked at again when it has surely run out."""
_RELEASE_SECONDS_MAX = 2.0
_FAILURE_TOPIC = "*nothing*"
_REST_S_MIN = 0.01
_IN_UNITS = (Group.PLAN, Group.SWEEP, Group.PRUNE)
"""Groups whose duties are units and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """How long a loop may wait for more, in seconds, and which topic ends that sooner."""

    topic: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What of one group is `due`, in the order in which it is to be done; or, where there is nothing, the `rest`.

    With neither, the lease is to be taken or renewed.
    """

    due: Sequence[Duty] = ()
    rest: Rest | None = None


class _NotHeld(Exception):
    """Another replica holds the group: the unit has done nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """Does the duties of one replica until it is cancelled, or the wakeups are closed.

    `exclusive`: no other process can have the database, so the duties are this one's from its start. Without `keeping`
    nothing is pruned.
    """

    database: Database
    registry: Registry
    wakeups: Wakeups
    policy: RetryPolicy
    lease_ms: int
    replica: str = "the only one"
    duty_lease_ms: int = EXCLUSIVE_LEASE_MS
    exclusive: bool = True
    keeping: Keeping | None = None
    leadership: Leadership = field(init=False)

    def __post_init__(self) -> None:
        """Nodes get a full lease when another replica begins to sweep: nobody may have listened before."""
        begins = {} if self.exclusive else {Group.SWEEP: self._start_anew}
        leadership = Leadership(replica=self.replica, lease_ms=self.duty_lease_ms, on_begin=begins)
        object.__setattr__(self, "leadership", leadership)

    async def start_anew(self) -> None:
        """To be done once, before the first request is answered and anything is expired."""
        await self.database.transact(self._begin)

    async def run(self) -> None:
        """Duties as they come due, and at the end of the wakeups their leases are given back.

        Each group has its own loop: telling nodes to join, for one, waits for nodes that may be slow.
        """
        async with asyncio.TaskGroup() as group:
            for each in _IN_UNITS:
                pages = partial(self._do, each)
                group.create_task(self._until_the_end(unhurried(pages) if each is Group.PRUNE else pages))
            group.create_task(self._until_the_end(self._join))
        await self.release()

    async def release(self) -> None:
        """Give back what this replica holds. That it cannot is no error: others take over when it has run out."""
        try:
            async with asyncio.timeout(_RELEASE_SECONDS_MAX):
                await self.database.transact(self.leadership.release)
        except (Unavailable, TimeoutError) as error:
            get_logger().warning("duties.kept", error=str(error) or "the database does not answer")

    async def do_due(self) -> float:
        """Do what is due now, but for joins; returns how many seconds to wait for more."""
        return min([(await self._do(group)).seconds for group in _IN_UNITS])

    async def tell_to_join(self) -> float:
        """Tell the nodes that are due; returns how many seconds to wait for more."""
        return (await self._join()).seconds

    async def _do(self, group: Group) -> Rest:
        """Do a page of each duty of `group` that is due, if this replica may."""
        look = await self._look(group)
        if look.rest is not None:
            return look.rest
        works = [self._work(each) for each in look.due] or [_nothing]
        try:
            for work in works:
                await self._transact(group, work)
        except _NotHeld:
            return _elsewhere(group, _AFTER_LEASE_MS)
        # A duty does one page at a time, so look again at once.
        return Rest(topic=work_topic(group), seconds=0)

    async def _join(self) -> Rest:
        """Tell a page of nodes to join. The lease is not held while they are asked: to be asked twice does no harm."""
        look = await self._look(Group.JOIN)
        if look.rest is not None:
            return look.rest
        try:
            targets = await self._transact(Group.JOIN, duties.joins)
        except _NotHeld:
            return _elsewhere(Group.JOIN, _AFTER_LEASE_MS)
        async with asyncio.TaskGroup() as group:
            for target in targets:
                group.create_task(self.registry.tell_to_join(name=target.name, base_url=target.base_url))
        return Rest(topic=work_topic(Group.JOIN), seconds=0)

    async def _look(self, group: Group) -> Look:
        """Without the right to do anything: what there may be to do, or until when there is nothing."""
        lease, snapshot = await self.database.read(
            lambda unit: (unit.duties.get(group), self._see(unit, group))
        )
        now_ms = snapshot.now_ms
        if lease is not None and duty.is_live(lease, now_ms) and not self.leadership.has(lease):
            return Look(rest=_elsewhere(group, lease.expires_at_ms - now_ms + _AFTER_LEASE_MS))
        decision = decide(snapshot, park_ms_max=self.policy.park_ms_max, sleep_ms_max=_SLEEP_MS_MAX)
        renewal_in_ms = (
            0
            if lease is None or not duty.is_live(lease, now_ms)
            else duty.renewal_in_ms(lease, lease_ms=self.duty_lease_ms, now_ms=now_ms)
        )
        if decision.duties or renewal_in_ms <= 0:
            return Look(due=[each for each in Duty if each in decision.duties])
        return Look(rest=Rest(topic=work_topic(group), seconds=min(decision.sleep_ms, renewal_in_ms) / 1000))

    async def _transact(self, group: Group, work: Callable[[Unit], Answer]) -> Answer:
        """`work` in a unit in which this replica holds `group`; raises `_NotHeld` where it does not."""

        def run(unit: Unit) -> Answer:
            if self.leadership.hold(unit, group) is None:
                raise _NotHeld
            return work(unit)

        return await self.database.transact(run)

    def _see(self, unit: Unit, group: Group) -> Snapshot:
        if group is Group.PRUNE:
            next_ms = None if self.keeping is None else pruning.next_ms(unit, self.keeping)
            return Snapshot(now_ms=unit.now_ms, next_prune_ms=next_ms)
        return duties.look(unit, group)

    def _work(self, what: Duty) -> Callable[[Unit], None]:
        return {
            Duty.PLAN: duties.plan,
            Duty.START: timing.start_due,
            Duty.DEADLINE: timing.end_overdue,
            Duty.EXPIRE_SESSIONS: duties.expire_sessions,
            Duty.TAKE_BACK: lambda unit: duties.take_back(unit, self.policy),
            Duty.RELEASE: duties.release,
            Duty.GIVE_UP: lambda unit: duties.give_up(unit, self.policy),
            Duty.PRUNE: lambda unit: pruning.step(unit, self.keeping or Keeping()),
        }[what]

    def _begin(self, unit: Unit) -> None:
        if self.exclusive:
            self.leadership.take_all(unit)
            self._start_anew(unit)
        else:
            self.leadership.hold(unit, Group.SWEEP)

    def _start_anew(self, unit: Unit) -> None:
        duties.start_anew(unit, lease_ms=self.lease_ms, policy=self.policy)

    async def _until_the_end(self, step: Callable[[], Awaitable[Rest]]) -> None:
        while not self.wakeups.closed:
            mark = self.wakeups.mark()
            rest = await _attempt(step)
            if rest.seconds:
                await self.wakeups.wait(rest.topic, since=mark, timeout_s=rest.seconds)


def unhurried(step: Callable[[], Awaitable[Rest]]) -> Callable[[], Awaitable[Rest]]:
    """`step`, with a rest after each page of at least as long as that took, so that others have half of the time."""

    async def rested() -> Rest:
        begun_s = monotonic()
        rest = await step()
        if rest.seconds:
            return rest
        return Rest(topic=_FAILURE_TOPIC, seconds=max(_REST_S_MIN, monotonic() - begun_s))

    return rested


def _elsewhere(group: Group, wait_ms: int) -> Rest:
    """Another replica holds `group`."""
    return Rest(topic=duty_topic(group), seconds=min(wait_ms, _SLEEP_MS_MAX) / 1000)


def _nothing(_: Unit) -> None:
    return


async def _attempt(step: Callable[[], Awaitable[Rest]]) -> Rest:
    rest = Rest(topic=_FAILURE_TOPIC, seconds=_SLEEP_AFTER_FAILURE_S)
    try:
        rest = await step()
    except* StoreFailed:
        # It will not get better: a newer release has changed the database, for one.
        raise
    except* Unavailable as refused:
        get_logger().warning("scheduler.waits", error=str(refused.exceptions[0]))
    return rest
