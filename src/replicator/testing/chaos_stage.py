"""What faults of a chaos run find: replicas, their database, a proxy in front, nodes and users."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from replicator.testing.chaos_cluster import Replica
from replicator.testing.chaos_database import ChaosDatabase
from replicator.testing.chaos_fleet import Fleet
from replicator.testing.chaos_front import Front
from replicator.testing.chaos_ledger import Ledger
from replicator.testing.chaos_logs import Logs
from replicator.testing.chaos_reader import Reader
from replicator.testing.chaos_users import Users
from replicator.testing.chaos_watch import Watch
from replicator.testing.processes import ServerProcess


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is made of.

    Attributes:
        database: `postgres` with so many `replicas`, or `sqlite` with one.
        nodes: simulated ones, beside `real_nodes` that are processes.
        jobs: how many are to live at a time.
        round_s: how long faults strike before everything has to come to its end, within `end_s_max`.
    """

    database: str = "postgres"
    replicas: int = 3
    nodes: int = 10
    real_nodes: int = 0
    jobs: int = 100
    round_s: float = 60.0
    end_s_max: float = 120.0
    seed: int = 0


@dataclass(kw_only=True)
class Stage:
    """All of it while faults strike.

    Attributes:
        say: told what happens, a line at a time.
        real_nodes: nodes that are processes, by name.
    """

    random: Random
    tally: Counter[str]
    say: Callable[[str], None]
    database: ChaosDatabase
    reader: Reader
    replicas: Sequence[Replica]
    logs: Logs
    front: Front
    fleet: Fleet
    users: Users
    ledger: Ledger
    watch: Watch
    real_nodes: Sequence[ServerProcess] = ()
    _taken: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def taking(self, *things: str) -> AsyncIterator[bool]:
        """Whether nobody else harms any of `things`; nobody does then while the context lasts."""
        free = self._taken.isdisjoint(things)
        if free:
            self._taken |= set(things)
        try:
            yield free
        finally:
            if free:
                self._taken -= set(things)

    async def last(self, least_s: float, most_s: float) -> float:
        """Let time pass; returns how much."""
        seconds = self.random.uniform(least_s, most_s)
        await asyncio.sleep(seconds)
        return seconds

    def choose_replica(self) -> Replica:
        """Any."""
        return self.random.choice(list(self.replicas))


@dataclass
class TimeLine:
    """What happened when, in seconds since the beginning; kept for who looks into a violation."""

    write: Callable[[str], None]
    lines: list[str] = field(default_factory=list)
    _began_s: float = field(default_factory=time.monotonic)

    def __call__(self, line: str) -> None:
        """It happens now."""
        said = f"{time.monotonic() - self._began_s:8.1f} s  {line}"
        self.lines.append(said)
        self.write(said)
