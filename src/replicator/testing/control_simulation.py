"""Nodes that talk to a control plane over a network that loses, repeats, delays and reorders messages.

Everything is drawn from one seed. The simulated nodes follow the protocol faithfully; only the network, the
clock, crashes, what nodes fail at, and users who change their minds are against them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from replicator.control_plane.domain.job import LIVE, JobState
from replicator.control_plane.domain.object_row import ObjectRow
from replicator.control_plane.ports import Unit
from replicator.kernel.errors import Conflict, Fenced, NotFound
from replicator.testing.memory_database import MemoryDatabase
from replicator.testing.simulated_node import Message, Reply, SimulatedNode, SimulatedObject, SimulatedStore
from replicator.testing.simulated_plane import LEASE_MS, SimulatedPlane, plane_in_memory
from replicator.testing.simulation_oracle import Oracle
from replicator.wire.jobs import ChangeJob, JobView, MigrateRequest, MirrorRequest, VerifyRequest
from replicator.wire.nodes import RegisterNode
from replicator.wire.sessions import OpenSession

STEPS = 120
_OBJECTS = 14
_CHUNKS = 120
_GHOSTS_MAX = 2
_KEPT_MAX = 60
_ROUNDS_MAX = 1000
_LATE_WHILE_HEALING = 0.3
_LASTING = frozenset({"not-found", "conflict", "max-deletes-exceeded"})
"""Why an object fails where nothing goes wrong."""


class Simulation:
    """Jobs between three nodes, in steps drawn from `seed`."""

    def __init__(self, plane: SimulatedPlane, seed: int) -> None:
        self._plane = plane
        self._random = Random(seed)
        self._oracle = _oracle_of(plane)
        self.nodes = _nodes(self._random)
        self.jobs: list[int] = []
        self.did: Counter[str] = Counter()
        # Processes that another life of their node has followed, and that do not know it.
        self._ghosts: list[SimulatedNode] = []
        self._sent: list[Message] = []
        self._returned: list[Reply] = []
        # With results in them; what has arrived once may arrive again, long after.
        self._arrived: list[Message] = []
        self._asked: dict[int, list[str] | None] = {}
        self._epochs: dict[int, int] = {}
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
        self._look()

    async def heal(self, *, kind: bool) -> None:
        """From now on nothing is lost and nobody interferes, but late messages come, until every job has ended.

        Args:
            kind: whether nothing fails at the nodes either.
        """
        self._ghosts.clear()
        for job in await self._in_state(JobState.PAUSED):
            await self._plane.jobs.resume(job)
        for _ in range(_ROUNDS_MAX):
            for node in self.nodes:
                for _ in range(3):
                    node.work(self._random, kind=kind)
                node.hear(await self._answer(node.message()))
            if self._random.random() < _LATE_WHILE_HEALING:
                await self._replay()
            self._plane.clock.advance(1)
            await self._plane.settle()
            self._look()
            if not await self._in_state(*LIVE):
                return
        raise AssertionError("some jobs never ended")

    async def retry_all(self) -> None:
        """What failed is tried again, where it can be."""
        for job in await self._in_state(JobState.PARTIAL, JobState.FAILED):
            try:
                await self._plane.jobs.retry(job)
                self._has_retried(job)
            except Conflict:
                self.did["retry refused"] += 1

    async def shown(self) -> list[JobView]:
        """All jobs as users see them."""
        return (await self._plane.jobs.page(cursor=None, limit=1000, status=None)).jobs

    async def check(self) -> None:
        """That every number adds up and is what the nodes said, now that all jobs have ended."""
        for job in await self.shown():
            rows = await self._rows_of(job.id)
            check_job(job, rows)
            if self._oracle is not None:
                self._oracle.check_job(job, rows, asked=self._asked[job.id])

    async def check_retried(self) -> None:
        """That nothing is failed that could be tried again, now that it was, and nothing went wrong."""
        for job in await self.shown():
            if job.status in {"partial", "failed"} and job.kind != "verify":
                codes = {
                    row.error.code
                    for row in await self._rows_of(job.id)
                    if row.error and row.outcome == "failed"
                }
                assert codes <= _LASTING, f"job {job.id} failed for {codes}"

    @property
    def jobs_not_exact(self) -> int:
        """How many jobs may have counted fewer bytes as transferred than had come."""
        return 0 if self._oracle is None else len(self._oracle.blurred)

    def _look(self) -> None:
        if self._oracle is not None:
            self._oracle.look(now_ms=self._plane.clock.wall_ms())

    async def _rows_of(self, job_id: int) -> Sequence[ObjectRow]:
        def read(unit: Unit) -> Sequence[ObjectRow]:
            return unit.objects.page(job_id, after_row=0, limit=10_000)

        return await self._plane.database.read(read)

    @property
    def _processes(self) -> list[SimulatedNode]:
        return [*self.nodes, *self._ghosts]

    async def _in_state(self, *states: JobState) -> list[int]:
        def read(unit: Unit) -> list[int]:
            return [
                job.id for state in states for job in unit.jobs.page(before=None, limit=1000, state=state)
            ]

        return sorted(await self._plane.database.read(read))

    async def _send(self) -> None:
        self._sent.append(self._random.choice(self._processes).message())

    async def _deliver(self) -> None:
        """A message arrives: any of those on their way, which may stay on its way and arrive again."""
        if self._sent:
            index = self._random.randrange(len(self._sent))
            again = self._random.random() < 0.4
            message = self._sent[index] if again else self._sent.pop(index)
            self._returned.append(await self._answer(message))

    async def _replay(self) -> None:
        """A message of long ago arrives once more: rather one about a task that has been given out again."""
        late = [message for message in self._arrived if self._is_late(message)]
        if late or self._arrived:
            self.did["late result"] += bool(late)
            self._returned.append(await self._answer(self._random.choice(late or self._arrived)))

    def _is_late(self, message: Message) -> bool:
        """Whether it would be heard, and is about an attempt that another has followed."""
        sessions = {None, *(node.session_id for node in self._processes)}
        results = message.content.results if message.session_id in sessions else []
        return any(result.epoch < self._epochs.get(result.task_id, 0) for result in results)

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
        node = self._random.choice(self._processes)
        node.hear(await self._answer(node.message()))

    async def _work(self) -> None:
        busy = [node for node in self._processes if node.running] or self.nodes
        node = self._random.choice(busy)
        for _ in range(self._random.randint(1, 4)):
            node.work(self._random)

    async def _pass_time(self) -> None:
        self._plane.clock.advance(self._random.choice([0.1, 0.1, 1, 1, 4, 16]))

    async def _schedule(self) -> None:
        await self._plane.settle()

    async def _crash(self) -> None:
        before = self._random.choice(self.nodes).crash()
        if self._random.random() < 0.5:
            self._ghosts = [before, *self._ghosts][:_GHOSTS_MAX]
            self.did["ghost"] += 1

    async def _restart(self) -> None:
        await self._plane.restart()
        if self._oracle is not None:
            self._oracle.restarted(now_ms=self._plane.clock.wall_ms())

    async def _submit(self) -> None:
        src, dst = self._random.sample([node.name for node in self.nodes], 2)
        ends: dict[str, Any] = {"src_node": src, "dst_node": dst}
        names = self._random.sample(sorted(self.nodes[0].world), 5)
        jobs = self._plane.jobs
        asked = None
        match self._random.randrange(7):
            case 0:
                asked = names[:1]
                submitted = await jobs.migrate(
                    MigrateRequest(**ends, object_id=names[0]), idempotency_key=None
                )
            case 1 | 2:
                asked = names
                rate = self._random.choice([None, None, 50_000])
                some = MigrateRequest(**ends, object_ids=names, bytes_per_second=rate)
                submitted = await jobs.migrate(some, idempotency_key=None)
            case 3:
                dry = self._random.random() < 0.3
                submitted = await jobs.migrate(
                    MigrateRequest(**ends, prefix="", dry_run=dry), idempotency_key=None
                )
            case 4:
                which: dict[str, Any] = self._random.choice([{"prefix": ""}, {"object_ids": names}])
                move = MigrateRequest(**ends, **which, mode="move")
                submitted = await jobs.migrate(move, idempotency_key=None)
            case 5:
                guard = self._random.choice([0, 2, 9])
                mirror = MirrorRequest(**ends, delete=True, max_deletes=guard, allow_empty_source=True)
                submitted = await jobs.mirror(mirror, idempotency_key=None)
            case _:
                submitted = await jobs.verify(VerifyRequest(**ends), idempotency_key=None)
        self.jobs.append(submitted.job.id)
        self._asked[submitted.job.id] = asked

    async def _meddle(self) -> None:
        """A user changes their mind about a job."""
        if not self.jobs:
            return
        job_id = self._random.choice(self.jobs)
        failed = await self._in_state(JobState.PARTIAL, JobState.FAILED)
        jobs = self._plane.jobs
        change = ChangeJob(priority=self._random.randrange(-2, 3))
        again = self._random.choice(failed or [job_id])
        changes = [
            ("cancel", jobs.cancel(job_id)),
            ("pause", jobs.pause(job_id)),
            ("resume", jobs.resume(job_id)),
            ("retry", jobs.retry(again)),
            ("change", jobs.change(job_id, change)),
        ]
        (chosen,) = self._random.choices(range(len(changes)), [1, 4, 5, 3, 3])
        for index, (name, asked) in enumerate(changes):
            if index != chosen:
                asked.close()
                continue
            try:
                await asked
                if name == "retry":
                    self._has_retried(again)
                else:
                    self.did[name] += 1
            except Conflict:
                self.did[f"{name} refused"] += 1

    def _has_retried(self, job_id: int) -> None:
        self.did["retry"] += 1
        if self._oracle is not None:
            self._oracle.retried(job_id)

    async def _answer(self, message: Message) -> Reply:
        reply = await self._reply_to(message)
        if message.content.results:
            self._arrived = [*self._arrived, message][-_KEPT_MAX:]
        self._epochs |= {task.task_id: task.epoch for task in reply.assigned}
        if self._oracle is not None:
            known = set(self._oracle.in_hand)
            self._oracle.answered(reply, now_ms=self._plane.clock.wall_ms())
            for task in reply.assigned:
                if (task.task_id, task.epoch) not in known:
                    await self._require_moving(task.job_id)
                    self._oracle.given(task, await self._rows_of(task.job_id))
        return reply

    async def _reply_to(self, message: Message) -> Reply:
        link = self._plane.link
        try:
            if isinstance(message.content, OpenSession):
                return Reply(message, await link.open(message.content))
            assert message.session_id is not None
            return Reply(message, await link.poll(message.session_id, message.content, is_gone=_never))
        except (Fenced, NotFound):
            return Reply(message, None)

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
        left_alone = row.finding == "newer" and row.attempts == 0
        if row.outcome in {"verified", "skipped"} and row.action == "transfer" and not left_alone:
            assert row.bytes_transferred + row.bytes_deduplicated == row.size


async def run_schedule(plane: SimulatedPlane, seed: int) -> Simulation:
    """One schedule from its beginning to its check; an error names its seed."""
    simulation = Simulation(plane, seed)
    try:
        await simulation.begin()
        for _ in range(STEPS):
            await simulation.step()
        await simulation.heal(kind=False)
        await simulation.check()
        await simulation.retry_all()
        await simulation.heal(kind=True)
        await simulation.check()
        await simulation.check_retried()
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
            happened["job not exact"] += simulation.jobs_not_exact
        return happened

    return asyncio.run(run_all())


def ends(events: list[Any]) -> Counter[int]:
    """How often each task has ended, by the log."""
    names = {"task.succeeded", "task.failed", "task.cancelled"}
    return Counter(event["task"] for event in events if event["event"] in names)


def _oracle_of(plane: SimulatedPlane) -> Oracle | None:
    """None over SQL, which keeps no attempts to be read: there the story is that of memory, told again."""
    database = plane.database
    if not isinstance(database, MemoryDatabase):
        return None
    return Oracle(attempts=lambda: database.attempts, lease_ms=LEASE_MS)


def _nodes(random: Random) -> list[SimulatedNode]:
    world = {
        name: SimulatedObject(name, frozenset(random.sample(range(_CHUNKS), random.randint(1, 7))))
        for name in (f"object-{number:02}" for number in range(_OBJECTS))
    }
    known: dict[str, SimulatedNode] = {}
    clumsiness = random.choice([0.01, 0.04, 0.12, 0.25])
    for name in ("node1", "node2", "node3"):
        share = random.choice([0.1, 0.3, 0.7])
        has = {each for each in world if random.random() < share}
        chunks = {chunk for each in has for chunk in world[each].chunks}
        newer = {each for each in sorted(has) if random.random() < 0.1}
        store = SimulatedStore(objects=has, chunks=chunks, newer=newer)
        known[name] = SimulatedNode(name, world, known, store, clumsiness=clumsiness)
    return list(known.values())


def _weights(random: Random) -> dict[str, float]:
    """How often each thing happens; schedules differ in what troubles them most."""
    weights = {"send": 60, "deliver": 120, "hear": 95, "talk": 60, "work": 160, "schedule": 50}
    trouble = {"pass_time": 30, "crash": 4, "meddle": 24, "replay": 30, "restart": 3}
    return (
        weights
        | {"submit": random.choice([8, 22, 40])}
        | {name: weight * random.choice([0, 0.3, 1, 2]) for name, weight in trouble.items()}
    )


async def _never() -> bool:
    return False
