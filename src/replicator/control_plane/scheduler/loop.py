"""The loop that does what `decide` says is due."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from replicator.control_plane.domain.policy import RetryPolicy
from replicator.control_plane.events import Wakeups
from replicator.control_plane.ports import SCHEDULER_TOPIC, Database, Unit
from replicator.control_plane.scheduler import duties
from replicator.control_plane.scheduler.decide import Decision, Duty, decide
from replicator.control_plane.services.registry import Registry
from replicator.kernel.errors import Unavailable
from replicator.runtime.logging import get_logger

_SLEEP_MS_MAX = 1000
_JOIN_TOPIC = "*joins*"
_SLEEP_AFTER_FAILURE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduler:
    """Does the duties of one control plane until it is cancelled, or the wakeups are closed."""

    database: Database
    registry: Registry
    wakeups: Wakeups
    policy: RetryPolicy
    lease_ms: int

    async def start_anew(self) -> None:
        """To be done once, before anything is expired."""
        await self.database.transact(
            lambda unit: duties.start_anew(unit, lease_ms=self.lease_ms, policy=self.policy)
        )

    async def run(self) -> None:
        """Duties as they come due. Telling nodes to join goes on beside them, for nodes may be slow."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._until_the_end(SCHEDULER_TOPIC, self.do_due))
            group.create_task(self._until_the_end(_JOIN_TOPIC, self.tell_to_join))

    async def do_due(self) -> float:
        """Do what is due now, but for joins; returns how many seconds to wait for more."""
        decision = await self._decide()
        due = [(duty, work) for duty, work in self._work().items() if duty in decision.duties]
        for _, work in due:
            await self.database.transact(work)
        # A duty does one page at a time, so look again at once.
        return 0 if due else decision.sleep_ms / 1000

    async def tell_to_join(self) -> float:
        """Tell the nodes that are due; returns how many seconds to wait for more."""
        decision = await self._decide()
        if Duty.JOIN not in decision.duties:
            return decision.sleep_ms / 1000
        async with asyncio.TaskGroup() as group:
            for target in await self.database.read(duties.joins):
                group.create_task(self.registry.tell_to_join(name=target.name, base_url=target.base_url))
        return 0

    def _work(self) -> dict[Duty, Callable[[Unit], None]]:
        return {
            Duty.PLAN: duties.plan,
            Duty.EXPIRE_SESSIONS: duties.expire_sessions,
            Duty.TAKE_BACK: lambda unit: duties.take_back(unit, self.policy),
            Duty.RELEASE: duties.release,
            Duty.GIVE_UP: lambda unit: duties.give_up(unit, self.policy),
        }

    async def _decide(self) -> Decision:
        snapshot = await self.database.read(duties.look)
        return decide(snapshot, park_ms_max=self.policy.park_ms_max, sleep_ms_max=_SLEEP_MS_MAX)

    async def _until_the_end(self, topic: str, step: Callable[[], Awaitable[float]]) -> None:
        while not self.wakeups.closed:
            mark = self.wakeups.mark()
            if wait_s := await _attempt(step):
                await self.wakeups.wait(topic, since=mark, timeout_s=wait_s)


async def _attempt(step: Callable[[], Awaitable[float]]) -> float:
    wait_s = _SLEEP_AFTER_FAILURE_S
    try:
        wait_s = await step()
    except* Unavailable as refused:
        get_logger().warning("scheduler.waits", error=str(refused.exceptions[0]))
    return wait_s
