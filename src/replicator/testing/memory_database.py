"""`Database` in memory: units take effect one after another, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from replicator.control_plane.ports import Event, Unit
from replicator.kernel.clock import Clock
from replicator.testing.memory_history import MemoryHistory, MemoryUpkeep
from replicator.testing.memory_records import (
    MemoryAttempts,
    MemoryDuties,
    MemoryEvents,
    MemoryJobs,
    MemoryLimits,
    MemoryNodes,
    MemoryObjects,
    MemorySessions,
    MemoryTasks,
    Tables,
)

Answer = TypeVar("Answer")


class MemoryUnit:
    """`Unit` over tables in memory."""

    def __init__(self, tables: Tables, *, now_ms: int) -> None:
        self.now_ms = now_ms
        self.control_plane = "control-plane-in-memory"
        self.nodes = MemoryNodes(tables)
        self.sessions = MemorySessions(tables)
        self.jobs = MemoryJobs(tables)
        self.tasks = MemoryTasks(tables)
        self.attempts = MemoryAttempts(tables, now_ms=now_ms)
        self.objects = MemoryObjects(tables)
        self.events = MemoryEvents(tables, now_ms=now_ms)
        self.limits = MemoryLimits(tables)
        self.history = MemoryHistory(tables)
        self.upkeep = MemoryUpkeep()
        self.duties = MemoryDuties(tables)
        self.noted: list[Event] = []

    def note(self, event: Event) -> None:
        """See `Unit`."""
        self.noted.append(event)


class MemoryDatabase:
    """See the module. `on_events` is called with the events of each unit."""

    def __init__(self, clock: Clock, *, on_events: Callable[[Sequence[Event]], None]) -> None:
        self._clock = clock
        self._on_events = on_events
        self._tables = Tables()

    @property
    def attempts(self) -> Mapping[tuple[int, int], str | None]:
        """How each attempt, named by task and epoch, has ended; None for one that has not."""
        return self._tables.attempts

    async def transact(self, work: Callable[[Unit], Answer]) -> Answer:
        """See `Database`."""
        before = self._tables.copy()
        unit = MemoryUnit(self._tables, now_ms=self._clock.wall_ms())
        try:
            answer = work(unit)
        except BaseException:
            self._tables = before
            raise
        self._on_events(unit.noted)
        return answer

    async def read(self, work: Callable[[Unit], Answer]) -> Answer:
        """See `Database`."""
        return work(MemoryUnit(self._tables, now_ms=self._clock.wall_ms()))

    async def check(self) -> str:
        """See `Database`."""
        return "in memory"
