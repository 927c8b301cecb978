"""A control plane of several replicas under every kind of fault, for as long as asked.

The replicas are real processes over a real database. Nodes, most of them simulated, and users talk to them through a
proxy while faults strike. A reader from outside looks at the tables all the time, and when a round is over and every
job has ended it holds them against what clients were told. The seed decides jobs, faults and their order; what
exactly a fault meets is up to the scheduler of the machine.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from random import Random

from sqlalchemy.exc import DBAPIError

from replicator.testing import chaos_watch
from replicator.testing.chaos_cluster import ended_of_themselves, miscounted
from replicator.testing.chaos_faults import OF_CONTROL_PLANE, Fault
from replicator.testing.chaos_ledger import Ledger
from replicator.testing.chaos_mischief import OF_NODES
from replicator.testing.chaos_opening import open_stage, until
from replicator.testing.chaos_oracle import JOB_ENDS, complaints, over_limits
from replicator.testing.chaos_reader import Snapshot
from replicator.testing.chaos_real_nodes import fill, wrong_objects
from replicator.testing.chaos_stage import Plan, Stage, TimeLine

FAULTS: Sequence[Fault] = (*OF_CONTROL_PLANE, *OF_NODES)
_FAULTS_AT_A_TIME = 3
_PAUSE_SECONDS_MAX = 2.5
_LOOK_SECONDS = 1.0
_USERS = 5
_SETTLE_SECONDS = 2.0
_SHOWN_MAX = 12
_SHOWN_CHARACTERS_MAX = 3000


class Chaos:
    """One run. `tally` says what happened how often, also after a violation.

    Args:
        folder: for logs and data; what is left in it after a violation shows what was found.
    """

    def __init__(
        self, folder: Path, plan: Plan, *, say: Callable[[str], None], faults: Sequence[Fault] = FAULTS
    ) -> None:
        self.tally: Counter[str] = Counter()
        self.time_line = TimeLine(say)
        self._folder = folder
        self._plan = plan
        self._faults = faults
        self._ledger = Ledger()
        self._latest = Snapshot(now_ms=0)

    def run(self, duration_s: float) -> None:
        """Rounds until the time is over; at least one.

        Raises:
            AssertionError: something does not hold; says what, and the rows concerned.
        """
        try:
            asyncio.run(self._run(duration_s))
        except (AssertionError, ExceptionGroup) as broken:
            found = [str(error) for error in _leaves(broken) if isinstance(error, AssertionError)]
            if not found:
                raise
            self._keep()
            raise AssertionError("\n".join(found)) from broken

    def _keep(self) -> None:
        """What was read last, for who looks into a violation."""
        with (self._folder / "rows").open("w") as file:
            for name, rows in vars(self._latest).items():
                for row in rows if isinstance(rows, list) else [rows]:
                    file.write(f"{name}: {row}\n")
            for each in [*self._ledger.submissions.values(), *self._ledger.results.items()]:
                file.write(f"told: {each}\n")

    async def _run(self, duration_s: float) -> None:
        end_s = time.monotonic() + duration_s
        async with open_stage(
            self._plan, self._folder, ledger=self._ledger, tally=self.tally, say=self.time_line
        ) as stage:
            for number in itertools.count(1):
                self.tally["rounds"] += 1
                stage.random = Random(f"{self._plan.seed}/{number}")
                left_s = max(1.0, end_s - time.monotonic())
                await self._round(stage, min(self._plan.round_s, left_s))
                if time.monotonic() >= end_s:
                    break
        self._require(stage.logs.look())

    async def _round(self, stage: Stage, seconds: float) -> None:
        """Let everything go on under faults, then without, and hold what is there against what was told."""
        await asyncio.to_thread(fill, stage.real_nodes, stage.random)
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look_on(stage))
            await self._trouble(stage, seconds)
            stage.say("no more faults")
            await self._heal(stage)
            over = await until(lambda: self._has_ended(stage), self._plan.end_s_max)
            looking.cancel()
        if not over:
            stage.say(f"VIOLATION: not every job has ended within {self._plan.end_s_max:g} s")
        await self._check(stage)

    async def _trouble(self, stage: Stage, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        faults = [fault for fault in self._faults if fault.can(stage)]
        plans = Random(f"{stage.random.random()}")
        async with asyncio.TaskGroup() as group:
            for _ in range(_FAULTS_AT_A_TIME):
                group.create_task(self._repeat(end_s, lambda: self._strike(stage, faults, plans)))
            for _ in range(_USERS):
                group.create_task(self._repeat(end_s, lambda: self._use(stage)))

    async def _repeat(self, end_s: float, step: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < end_s:
            await step()

    async def _strike(self, stage: Stage, faults: Sequence[Fault], plans: Random) -> None:
        await asyncio.sleep(plans.uniform(0, _FAULTS_AT_A_TIME * _PAUSE_SECONDS_MAX / 2))
        (fault,) = plans.choices(faults, [fault.weight for fault in faults])

        def say(whom: str) -> None:
            self.tally[f"fault: {fault.name}"] += 1
            stage.say(f"{fault.name}: {whom}")

        await fault.strike(stage, say)

    async def _use(self, stage: Stage) -> None:
        """One thing that a user does."""
        live = [job["id"] for job in self._latest.jobs if job["state"] not in JOB_ENDS]
        failed = [job["id"] for job in self._latest.jobs if job["state"] in {"partial", "failed"}]
        luck = stage.random.random()
        if luck < 0.75 and len(live) < self._plan.jobs:
            await stage.users.submit()
        elif luck < 0.82:
            await stage.users.submit_again()
        elif luck < 0.88:
            await stage.users.read([job["id"] for job in self._latest.jobs])
        else:
            await stage.users.meddle(live, failed)
        await asyncio.sleep(stage.random.uniform(0, 0.3))

    async def _heal(self, stage: Stage) -> None:
        # What nobody has heard the end of comes to one.
        await asyncio.sleep(_SETTLE_SECONDS)
        stage.fleet.be_kind(True)
        for name in stage.fleet.names:
            await stage.users.limit(name, tasks_max=None, serves_max=None)

    async def _look_on(self, stage: Stage) -> None:
        while True:
            await self._look(stage)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self, stage: Stage) -> None:
        """Hold one moment of the database against all that must always hold."""
        try:
            self._latest = snapshot = await asyncio.to_thread(stage.reader.snapshot)
        except DBAPIError:
            self.tally["looks that the database did not answer"] += 1
        else:
            self.tally["looks"] += 1
            live = sum(job["state"] not in JOB_ENDS for job in snapshot.jobs)
            peaks = {"jobs at a time": live, "wakes kept": snapshot.wakes, "writers kept": snapshot.writers}
            for name, value in peaks.items():
                self.tally[f"most {name}"] = max(self.tally[f"most {name}"], value)
            found = complaints(snapshot) + over_limits(snapshot, self._ledger)
            if snapshot.writers > (lives := sum(replica.lives for replica in stage.replicas)):
                found.append(f"{snapshot.writers} writers are kept of {lives} lives")
            self._require(found + stage.watch.look(snapshot, self._ledger))
        self._require(stage.logs.look() + ended_of_themselves(stage.replicas) + stage.fleet.failures())

    async def _has_ended(self, stage: Stage) -> bool:
        live = [job for job in self._latest.jobs if job["state"] not in JOB_ENDS]
        paused = [job["id"] for job in live if job["state"] == "paused"]
        await stage.users.resume_all(paused)
        if live:
            return False
        self._latest = await asyncio.to_thread(stage.reader.snapshot)
        return all(job["state"] in JOB_ENDS for job in self._latest.jobs)

    async def _check(self, stage: Stage) -> None:
        snapshot = await asyncio.to_thread(lambda: stage.reader.snapshot(with_events=True))
        states = await asyncio.to_thread(stage.reader.states)
        floor = stage.reader.floor
        self._require(
            [
                *stage.logs.look(),
                *complaints(snapshot),
                *await asyncio.to_thread(wrong_objects, stage.real_nodes),
                *await asyncio.to_thread(miscounted, stage.replicas),
                *stage.watch.look(snapshot, self._ledger),
                *stage.watch.states(states, self._ledger),
                *chaos_watch.ended(snapshot, self._ledger, floor=floor),
                *chaos_watch.refusals(stage.logs.refused, snapshot, self._ledger),
            ]
        )
        self._count(stage, snapshot)
        self._forget(stage, snapshot)
        stage.fleet.be_kind(False)

    def _count(self, stage: Stage, snapshot: Snapshot) -> None:
        self.tally.update(chaos_watch.tally_of(snapshot))
        self.tally.update(chaos_watch.stale_results(snapshot, self._ledger))
        self.tally["stale results refused"] = stage.logs.events["result.refused"]
        self.tally["jobs in history"] = snapshot.in_history
        self.tally["connections moved by the proxy"] = stage.front.moved
        for name, hand_overs in stage.watch.hand_overs.items():
            self.tally[f"duty {name} changed hands"] = hand_overs
        for name, count in stage.logs.events.items():
            if name.startswith("database"):
                self.tally[name] = count
        stage.say(
            f"round {self.tally['rounds']}: {len(snapshot.jobs)} jobs, {len(snapshot.tasks)} tasks, "
            f"{len(snapshot.attempts)} attempts; all is as it was told"
        )

    def _forget(self, stage: Stage, snapshot: Snapshot) -> None:
        """What this round was about is over, but for its jobs' ends and keys."""
        stage.reader.floor = max((job["id"] for job in snapshot.jobs), default=stage.reader.floor)
        last_task = max((task["id"] for task in snapshot.tasks), default=0)
        of_key = {job["idempotency_key"]: job["id"] for job in snapshot.jobs}
        for each in self._ledger.submissions.values():
            if each.key in of_key:
                each.job_ids.add(of_key[each.key])
        self._ledger.forget(last_task)
        stage.watch.tasks.clear()

    def _require(self, found: Sequence[str]) -> None:
        if found:
            shown = "\n".join(each[:_SHOWN_CHARACTERS_MAX] for each in found[:_SHOWN_MAX])
            raise AssertionError(f"{len(found)} complaints:\n{shown}")


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
