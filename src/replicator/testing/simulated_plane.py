"""A control plane for a simulation: over tables in memory, or over SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from replicator.control_plane.domain.policy import RetryPolicy, Uniform
from replicator.control_plane.events import Wakeups
from replicator.control_plane.metrics import Metrics
from replicator.control_plane.ports import Database, Event
from replicator.control_plane.scheduler.loop import Scheduler
from replicator.control_plane.scheduler.planner import plan_job
from replicator.control_plane.services.jobs import Jobs
from replicator.control_plane.services.link import Link
from replicator.control_plane.services.registry import Registry
from replicator.control_plane.services.sessions import Terms
from replicator.testing.control_plane import ControlPlaneUnderTest, ManualClock, ScriptedJoiner
from replicator.testing.memory_database import MemoryDatabase

LEASE_MS = 15_000
ATTEMPTS_MAX = 3
LOSSES_MAX = 20
_ROUNDS_MAX = 2000


@dataclass(kw_only=True)
class SimulatedPlane:
    """A control plane for a simulation, and the names of what has happened in it."""

    database: Database
    jobs: Jobs
    link: Link
    registry: Registry
    scheduler: Scheduler
    clock: ManualClock
    happened: Counter[str] = field(default_factory=Counter)

    async def settle(self) -> None:
        """Let the scheduler do all that is due."""
        for _ in range(_ROUNDS_MAX):
            if await self.scheduler.do_due():
                return
        raise AssertionError("the scheduler finds ever more to do")

    async def restart(self) -> None:
        """The process ends and another begins: what was not stored is forgotten."""
        await self.scheduler.start_anew()


def plane_in_memory(uniform: Uniform) -> SimulatedPlane:
    """A control plane without a disk; `uniform` is its randomness."""
    clock, wakeups = ManualClock(), Wakeups()
    happened: Counter[str] = Counter()

    def on_events(events: Sequence[Event]) -> None:
        happened.update(event.name for event in events)

    database = MemoryDatabase(clock, on_events=on_events)
    policy = RetryPolicy(
        attempts_max=ATTEMPTS_MAX,
        losses_max=LOSSES_MAX,
        delay_floor_ms=1000,
        delay_step_ms=2000,
        delay_spread_ms_max=900_000,
        park_ms_max=86_400_000,
        uniform=uniform,
    )
    sessions = count(1)
    link = Link(
        database=database,
        wakeups=wakeups,
        metrics=Metrics(clock),
        clock=clock,
        terms=Terms(lease_ms=LEASE_MS, policy=policy),
        poll_s=10,
        new_session_id=lambda: f"session-{next(sessions)}",
    )
    registry = Registry(database=database, joiner=ScriptedJoiner())
    scheduler = Scheduler(
        database=database, registry=registry, wakeups=wakeups, policy=policy, lease_ms=LEASE_MS
    )
    return SimulatedPlane(
        database=database,
        jobs=Jobs(database=database, plan=plan_job),
        link=link,
        registry=registry,
        scheduler=scheduler,
        clock=clock,
        happened=happened,
    )


def plane_on_disk(plane: ControlPlaneUnderTest) -> SimulatedPlane:
    """The control plane of a test, over SQL."""
    services = plane.parts.services
    return SimulatedPlane(
        database=plane.parts.database,
        jobs=services.jobs,
        link=services.link,
        registry=services.registry,
        scheduler=plane.parts.scheduler,
        clock=plane.clock,
    )
