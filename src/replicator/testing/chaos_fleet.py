"""The simulated nodes of a chaos run over all their lives, and processes that outlived their successor's start."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Self

import httpx

from replicator.testing.chaos_ledger import Ledger
from replicator.testing.chaos_nodes import ChaosProcess, brains, object_names
from replicator.testing.simulated_node import SimulatedNode

_AGAIN_SECONDS_MAX = 5.0


class Fleet:
    """`count` nodes that talk to `url`. An async context manager: all live while it lasts."""

    def __init__(self, count: int, *, url: str, ledger: Ledger, random: Random, tally: Counter[str]) -> None:
        self.brains: Mapping[str, SimulatedNode] = brains(count, random)
        self.object_names = object_names(dict(self.brains))
        self._url = url
        self._ledger = ledger
        self._random = random
        self._tally = tally
        self._processes: dict[str, ChaosProcess] = {}
        self._ghosts: set[ChaosProcess] = set()
        self._ending: set[asyncio.Task[None]] = set()
        self._kind = False

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(base_url=self._url, timeout=_AGAIN_SECONDS_MAX, trust_env=False)
        for name in self.brains:
            self._begin(name)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._ending:
            task.cancel()
        for process in [*self._processes.values(), *self._ghosts]:
            await process.kill()
        await self._client.aclose()

    @property
    def names(self) -> list[str]:
        """Of the nodes."""
        return sorted(self.brains)

    def be_kind(self, kind: bool) -> None:
        """Whether nothing fails at the nodes from now on, and those that had a successor are gone."""
        self._kind = kind
        for process in self._processes.values():
            process.kind = kind
            process.resume()

    async def kill(self, name: str, *, loses_outbox: bool = False) -> None:
        """The process ends at once; another life begins when `revive` says so."""
        await self._processes[name].kill()
        brain = self.brains[name]
        brain.crash()
        if loses_outbox:
            brain.outbox.clear()

    def revive(self, name: str) -> None:
        """A new process of a node that was killed, if it has none."""
        if not self._processes[name].lives:
            self._begin(name)

    async def succeed(self, name: str) -> ChaosProcess:
        """Another process of the node begins while the one before lives on and does not know; returns that one."""
        former = self._processes[name]
        await former.kill()
        former.brain = self.brains[name].crash()
        former.start()
        self._ghosts.add(former)
        self._begin(name)
        return former

    async def end(self, ghost: ChaosProcess) -> None:
        """A process that was succeeded ends."""
        self._ghosts.discard(ghost)
        await ghost.kill()

    def suspend(self, name: str) -> None:
        """The process stands still."""
        self._processes[name].suspend()

    def resume(self, name: str) -> None:
        """It goes on."""
        self._processes[name].resume()

    async def repeat(self, count: int) -> int:
        """Messages of before arrive once more, several at a time and in any order; returns how many."""
        owners = [*self._processes.values(), *self._ghosts]
        said = [(owner, sent) for owner in owners for sent in owner.sent]
        chosen = self._random.sample(said, min(count, len(said)))
        async with asyncio.TaskGroup() as group:
            for owner, sent in chosen:
                heard = self._random.random() < 0.3
                group.create_task(owner.say_again(self._client, sent, heard=heard))
        return len(chosen)

    def failures(self) -> list[str]:
        """Processes that ended of themselves: they heard something that nobody should say."""
        everyone = [*self._processes.values(), *self._ghosts]
        return [f"{each.brain.boot_id}: {reason}" for each in everyone if (reason := each.failure())]

    def _begin(self, name: str) -> None:
        process = ChaosProcess(
            self.brains[name],
            self._url,
            self._ledger,
            self._random,
            self._tally,
            self._ended,
            kind=self._kind,
        )
        process.start()
        self._processes[name] = process

    def _ended(self, process: ChaosProcess) -> None:
        """Its own task ends the process."""
        task = asyncio.create_task(self._end_and_begin(process))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end_and_begin(self, process: ChaosProcess) -> None:
        name = process.brain.name
        if self._processes.get(name) is not process or not process.lives:
            return
        await self.kill(name)
        await asyncio.sleep(self._random.uniform(0, 1))
        self.revive(name)
