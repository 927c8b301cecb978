"""Nodes that talk to a control plane over a network that loses, repeats, delays and reorders messages.

Everything is drawn from one seed. The simulated nodes follow the protocol faithfully; only the network, the
clock, crashes, what nodes fail at, and users who change their minds are against them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from replicator.control_plane.domain.job import LIVE, JobState
from replicator.control_plane.domain.object_row import ObjectRow
from replicator.control_plane.domain.policy import RetryPolicy, Uniform
from replicator.control_plane.events import Wakeups
from replicator.control_plane.metrics import Metrics
from replicator.control_plane.ports import Database, Event, Unit
from replicator.control_plane.scheduler.loop import Scheduler
from replicator.control_plane.services.jobs import Jobs
from replicator.control_plane.services.link import Link
from replicator.control_plane.services.registry import Registry
from replicator.control_plane.services.sessions import Terms
from replicator.kernel.errors import Conflict, Fenced, NotFound
from replicator.testing.control_plane import ControlPlaneUnderTest, ManualClock, ScriptedJoiner
from replicator.testing.memory_database import MemoryDatabase
from replicator.testing.simulated_node import Message, Reply, SimulatedNode, SimulatedObject
from replicator.wire.jobs import (
    ChangeJob,
    JobView,
    MigrateRequest,
    MirrorRequest,
    VerifyRequest,
)
from replicator.wire.nodes import RegisterNode
from replicator.wire.sessions import OpenSession, TaskRef

STEPS = 160
_LEASE_MS = 15_000
_OBJECTS = 14
_CHUNKS = 50


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
        while not await self.scheduler.do_due():
            pass


def plane_in_memory(uniform: Uniform) -> SimulatedPlane:
    """A control plane without a disk; `uniform` is its randomness."""
    clock, wakeups = ManualClock(), Wakeups()
    happened: Counter[str] = Counter()

    def on_events(events: Sequence[Event]) -> None:
        happened.update(event.name for event in events)

    database = MemoryDatabase(clock, on_events=on_events)
    policy = RetryPolicy(
        attempts_max=4,
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
        terms=Terms(lease_ms=_LEASE_MS, policy=policy),
        poll_s=10,
        new_session_id=lambda: f"session-{next(sessions)}",
    )
    registry = Registry(database=database, joiner=ScriptedJoiner())
    scheduler = Scheduler(
        database=database, registry=registry, wakeups=wakeups, policy=policy, lease_ms=_LEASE_MS
    )
    return SimulatedPlane(
        database=database,
        jobs=Jobs(database=database),
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


class Simulation:
    """Jobs between three nodes, in steps drawn from `seed`."""

    def __init__(self, plane: SimulatedPlane, seed: int) -> None:
        self._plane = plane
        self._random = Random(seed)
        self.nodes = _nodes(self._random)
        self.jobs: list[int] = []
        self.assigned: dict[TaskRef, str] = {}
        self.did: Counter[str] = Counter()
        self._sent: list[Message] = []
        self._returned: list[Reply] = []
        self._weights = _weights(self._random)

    async def begin(self) -> None:
        """The nodes are known."""
        for node in self.nodes:
            await self._plane.registry.register(
                RegisterNode.model_validate({"name": node.name, "base_url": f"http://{node.name}"})
            )

    async def step(self) -> None:
        """One thing happens."""
        (what,) = self._random.choices(list(self._weights), list(self._weights.values()))
        self.did[what] += 1
        await getattr(self, f"_{what}")()

    async def heal(self) -> None:
        """From now on nothing is lost and nobody interferes, until every job has ended."""
        for job in await self._in_state(JobState.PAUSED):
            await self._plane.jobs.resume(job)
        for _ in range(400):
            for node in self.nodes:
                for _ in range(3):
                    node.work(self._random, kind=True)
                node.hear(await self._answer(node.message()))
            self._plane.clock.advance(1)
            await self._plane.settle()
            if not await self._in_state(*LIVE):
                return
        raise AssertionError("some jobs never ended")

    async def retry_all(self) -> None:
        """What failed is tried again, where it can be."""
        for job in await self._in_state(JobState.PARTIAL, JobState.FAILED):
            try:
                await self._plane.jobs.retry(job)
                self.did["retry"] += 1
            except Conflict:
                self.did["retry refused"] += 1

    async def shown(self) -> list[JobView]:
        """All jobs as users see them."""
        return (await self._plane.jobs.page(cursor=None, limit=1000, status=None)).jobs

    async def check(self) -> None:
        """That every number adds up, now that all jobs have ended."""
        jobs = await self.shown()
        for job in jobs:
            rows = await self._plane.database.read(_rows_of(job.id))
            check_job(job, rows)
        for node in self.nodes:
            counted = sum(job.progress.bytes_transferred for job in jobs if job.dst_node == node.name)
            assert counted <= node.arrived_bytes, f"{node.name}: a chunk was counted twice"
            if self.was_calm:
                assert counted == node.arrived_bytes, f"{node.name}: a chunk was not counted"

    @property
    def was_calm(self) -> bool:
        """Whether every attempt could say how it ended: then not a byte is unaccounted for."""
        abandoned = sum(node.abandoned for node in self.nodes)
        return not (abandoned or self.did["crash"] or self._plane.happened["result.refused"])

    def check_fencing(self, attempts: Mapping[tuple[int, int], str | None]) -> None:
        """That each of `attempts` ended as the node said that had it, if it ended by a node's word."""
        said = {(ref.task_id, ref.epoch): how for node in self.nodes for ref, how in node.ended.items()}
        for attempt, outcome in attempts.items():
            if outcome in {"succeeded", "failed"}:
                assert said.get(attempt) == outcome, f"attempt {attempt} did not end by its own result"

    async def _in_state(self, *states: JobState) -> list[int]:
        def read(unit: Unit) -> list[int]:
            return [
                job.id for state in states for job in unit.jobs.page(before=None, limit=1000, state=state)
            ]

        return sorted(await self._plane.database.read(read))

    async def _send(self) -> None:
        self._sent.append(self._random.choice(self.nodes).message())

    async def _deliver(self) -> None:
        """A message arrives: any of those on their way, which may stay on its way and arrive again."""
        if self._sent:
            index = self._random.randrange(len(self._sent))
            again = self._random.random() < 0.4
            message = self._sent[index] if again else self._sent.pop(index)
            self._returned.append(await self._answer(message))

    async def _hear(self) -> None:
        """A reply arrives, or is lost, or arrives and will arrive again."""
        if self._returned:
            index = self._random.randrange(len(self._returned))
            again = self._random.random() < 0.1
            reply = self._returned[index] if again else self._returned.pop(index)
            if self._random.random() < 0.8:
                reply.message.node.hear(reply)

    async def _talk(self) -> None:
        """A node and the control plane understand each other."""
        node = self._random.choice(self.nodes)
        node.hear(await self._answer(node.message()))

    async def _work(self) -> None:
        busy = [node for node in self.nodes if node.running] or self.nodes
        node = self._random.choice(busy)
        for _ in range(self._random.randint(1, 4)):
            node.work(self._random)

    async def _pass_time(self) -> None:
        self._plane.clock.advance(self._random.choice([0.1, 0.1, 1, 1, 4, 16]))

    async def _schedule(self) -> None:
        await self._plane.settle()

    async def _crash(self) -> None:
        self._random.choice(self.nodes).crash()

    async def _submit(self) -> None:
        src, dst = self._random.sample([node.name for node in self.nodes], 2)
        ends: dict[str, Any] = {"src_node": src, "dst_node": dst}
        names = sorted(self.nodes[0].world)
        jobs = self._plane.jobs
        rate = self._random.choice([None, None, 50_000])
        match self._random.randrange(6):
            case 0:
                one = MigrateRequest(**ends, object_id=self._random.choice(names))
                submitted = await jobs.migrate(one, idempotency_key=None)
            case 1 | 2:
                some = MigrateRequest(**ends, object_ids=self._random.sample(names, 5), bytes_per_second=rate)
                submitted = await jobs.migrate(some, idempotency_key=None)
            case 3:
                dry = self._random.random() < 0.3
                submitted = await jobs.migrate(
                    MigrateRequest(**ends, prefix="", dry_run=dry), idempotency_key=None
                )
            case 4:
                guard = self._random.choice([0, 2, 9])
                mirror = MirrorRequest(**ends, delete=True, max_deletes=guard)
                submitted = await jobs.mirror(mirror, idempotency_key=None)
            case _:
                submitted = await jobs.verify(VerifyRequest(**ends), idempotency_key=None)
        self.jobs.append(submitted.job.id)

    async def _meddle(self) -> None:
        """A user changes their mind about a job."""
        if not self.jobs:
            return
        job_id = self._random.choice(self.jobs)
        failed = await self._in_state(JobState.PARTIAL, JobState.FAILED)
        jobs = self._plane.jobs
        change = ChangeJob(priority=self._random.randrange(-2, 3))
        changes = [
            ("cancel", jobs.cancel(job_id)),
            ("pause", jobs.pause(job_id)),
            ("resume", jobs.resume(job_id)),
            ("retry", jobs.retry(self._random.choice(failed or [job_id]))),
            ("change", jobs.change(job_id, change)),
        ]
        (chosen,) = self._random.choices(range(len(changes)), [1, 4, 5, 3, 3])
        for index, (name, asked) in enumerate(changes):
            if index != chosen:
                asked.close()
                continue
            try:
                await asked
                self.did[name] += 1
            except Conflict:
                self.did[f"{name} refused"] += 1

    async def _answer(self, message: Message) -> Reply:
        link = self._plane.link
        try:
            if isinstance(message.content, OpenSession):
                return Reply(message, await link.open(message.content))
            assert message.session_id is not None
            reply = await link.poll(message.session_id, message.content, is_gone=_never)
        except (Fenced, NotFound):
            return Reply(message, None)
        for task in reply.tasks:
            if task.ref not in self.assigned:
                await self._require_moving(task.job_id)
            boot_id = self.assigned.setdefault(task.ref, message.content.boot_id)
            assert boot_id == message.content.boot_id, "one epoch was given to two processes"
        return Reply(message, reply)

    async def _require_moving(self, job_id: int) -> None:
        """A task of the job has just been given out for the first time."""
        moving = await self._in_state(JobState.PLANNING, JobState.RUNNING)
        assert job_id in moving, "a task was given out though its job is held"


def check_job(job: JobView, rows: Sequence[ObjectRow]) -> None:
    """That the numbers of a job that has ended are exact, and are those of its objects."""
    total = job.progress
    assert job.finished_at is not None
    assert total.objects_planned == total.objects_verified + total.objects_skipped + total.objects_failed
    assert total.bytes_logical == total.bytes_transferred + total.bytes_deduplicated
    outcomes = Counter(str(row.outcome) for row in rows)
    assert not outcomes["pending"], "an object was forgotten"
    assert (total.objects_verified, total.objects_failed) == (outcomes["verified"], outcomes["failed"])
    assert total.objects_deleted == outcomes["deleted"]
    assert total.bytes_transferred == sum(row.bytes_transferred for row in rows)
    assert job.status != "succeeded" or not outcomes["failed"]
    assert job.status == "cancelled" or not outcomes["cancelled"]
    for row in rows:
        if row.outcome in {"verified", "skipped"} and row.action == "transfer":
            assert row.bytes_transferred + row.bytes_deduplicated == row.size


async def run_schedule(plane: SimulatedPlane, seed: int) -> Simulation:
    """One schedule from its beginning to its check; an error names its seed."""
    simulation = Simulation(plane, seed)
    try:
        await simulation.begin()
        for _ in range(STEPS):
            await simulation.step()
        await simulation.heal()
        await simulation.check()
        await simulation.retry_all()
        await simulation.heal()
        await simulation.check()
        if isinstance(plane.database, MemoryDatabase):
            simulation.check_fencing(plane.database.attempts)
    except Exception as error:
        error.add_note(f"schedule of seed {seed}: make simulate SCHEDULES=1 SEED={seed}")
        raise
    return simulation


def run_schedules(seeds: Sequence[int]) -> Counter[str]:
    """Schedules in memory, one after another; what happened in them all."""

    async def run_all() -> Counter[str]:
        happened: Counter[str] = Counter()
        for seed in seeds:
            plane = plane_in_memory(Random(seed).uniform)
            simulation = await run_schedule(plane, seed)
            happened += plane.happened + simulation.did
            happened["calm"] += simulation.was_calm
        return happened

    return asyncio.run(run_all())


def ends(events: list[Any]) -> Counter[int]:
    """How often each task has ended, by the log."""
    names = {"task.succeeded", "task.failed", "task.cancelled"}
    return Counter(event["task"] for event in events if event["event"] in names)


def _nodes(random: Random) -> list[SimulatedNode]:
    world = {
        name: SimulatedObject(name, frozenset(random.sample(range(_CHUNKS), random.randint(1, 7))))
        for name in (f"object-{number:02}" for number in range(_OBJECTS))
    }
    known: dict[str, SimulatedNode] = {}
    clumsiness = random.choice([0.01, 0.04, 0.12])
    for name in ("node1", "node2", "node3"):
        has = {each for each in world if random.random() < random.choice([0.2, 0.8])}
        chunks = {chunk for each in has for chunk in world[each].chunks}
        known[name] = SimulatedNode(name, world, known, objects=has, chunks=chunks, clumsiness=clumsiness)
    return list(known.values())


def _weights(random: Random) -> dict[str, float]:
    """How often each thing happens; schedules differ in what troubles them most."""
    weights = {"send": 60, "deliver": 120, "hear": 95, "talk": 60, "work": 160, "schedule": 50}
    trouble = {"pass_time": 20, "crash": 4, "meddle": 24}
    return (
        weights
        | {"submit": random.choice([8, 22, 40])}
        | {name: weight * random.choice([0, 0.3, 1, 2]) for name, weight in trouble.items()}
    )


def _rows_of(job_id: int) -> Any:
    def read(unit: Unit) -> Sequence[ObjectRow]:
        return unit.objects.page(job_id, after_row=0, limit=10_000)

    return read


async def _never() -> bool:
    return False
