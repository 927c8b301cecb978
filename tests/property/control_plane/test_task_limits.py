"""Whatever the limits become meanwhile, no claim breaks them, and in the end everything is done."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

import pytest

from replicator.control_plane.domain.limits import LinkLimit, NodeLimits
from replicator.control_plane.ports import Unit
from replicator.kernel.names import NodeName
from replicator.testing.simulated_plane import SimulatedPlane, plane_in_memory
from replicator.wire.jobs import ChangeJob, MigrateRequest
from replicator.wire.sessions import (
    ObjectResult,
    OpenSession,
    Poll,
    TaskAssignment,
    TaskProgress,
    TaskResult,
    Transfer,
)

pytestmark = pytest.mark.anyio

NAMES = [NodeName(f"node{number}") for number in range(1, 6)]
STEPS, ROUNDS_MAX = 150, 400


@dataclass
class Fleet:
    """Nodes that do what they are given, in an order of chance, under limits that change."""

    plane: SimulatedPlane
    chance: Random
    sessions: dict[NodeName, str] = field(default_factory=dict)
    at_work: dict[NodeName, list[TaskAssignment]] = field(default_factory=dict)
    jobs: list[int] = field(default_factory=list)

    async def open(self) -> None:
        """Every node has a session."""
        for name in NAMES:
            message = OpenSession(node=name, boot_id=f"{name}-boot", base_url=f"http://{name}", release="1")
            self.sessions[name] = (await self.plane.link.open(message)).session_id
            self.at_work[name] = []

    async def step(self) -> None:
        """One thing happens."""
        what = self.chance.choice(["submit", "limit", "rest", "change", *["poll"] * 6])
        await getattr(self, what)()

    async def submit(self) -> None:
        """A job of a few tasks."""
        source, destination = self.chance.sample(NAMES, 2)
        ids = [f"o{number}" for number in range(self.chance.choice([1, 1, 200]))]
        request = MigrateRequest(
            src_node=source,
            dst_node=destination,
            object_ids=ids,
            priority=self.chance.randint(-9, 9),
            tasks_max=self.chance.choice([None, 1, 2]),
        )
        self.jobs.append((await self.plane.jobs.migrate(request, idempotency_key=None)).job.id)
        await self.plane.settle()

    async def limit(self) -> None:
        """A node or a link is held to other limits."""
        node, other = self.chance.sample(NAMES, 2)
        first, second = (self.chance.choice([None, 1, 2, 3]) for _ in range(2))

        def change(unit: Unit) -> None:
            if self.chance.random() < 0.5:
                unit.limits.set_node(node, NodeLimits(tasks_max=first, serves_max=second))
            else:
                unit.limits.set_link(LinkLimit(src_node=node, dst_node=other, tasks_max=first))

        await self.plane.database.transact(change)

    async def rest(self, *, resting: bool | None = None) -> None:
        """A node goes into maintenance, or all come back."""
        name = self.chance.choice(NAMES)

        def change(unit: Unit) -> None:
            for node in unit.nodes.page(after="", limit=len(NAMES)):
                rests = node.name == name and self.chance.random() < 0.3
                unit.nodes.put(replace(node, maintenance=rests if resting is None else resting))

        await self.plane.database.transact(change)

    async def change(self) -> None:
        """Another priority."""
        page = await self.plane.jobs.page(cursor=None, limit=50, status="running")
        if page.jobs:
            job = self.chance.choice(page.jobs)
            await self.plane.jobs.change(job.id, ChangeJob(priority=self.chance.randint(-9, 9)))

    async def poll(self, name: NodeName | None = None) -> None:
        """A node reports some of its tasks as done, and takes more."""
        name = name or self.chance.choice(NAMES)
        done = self.chance.randint(0, len(self.at_work[name]))
        ended, self.at_work[name] = self.at_work[name][:done], self.at_work[name][done:]
        message = Poll(
            boot_id=f"{name}-boot",
            capacity=4,
            wait_seconds=0,
            results=[_result(task, f"{name}-boot") for task in ended],
            running=[
                TaskProgress(**task.ref.model_dump(), transfer=Transfer()) for task in self.at_work[name]
            ],
        )
        reply = await self.plane.link.poll(self.sessions[name], message, is_gone=_never)
        self.at_work[name] += reply.tasks
        if reply.tasks:
            sources = {NodeName(task.source.node) for task in reply.tasks}
            await self.plane.database.read(lambda unit: _check(unit, name, sources))
        await self.plane.settle()


async def _never() -> bool:
    return False


def _result(task: TaskAssignment, boot_id: str) -> TaskResult:
    objects = [ObjectResult(row=item.row, outcome="verified", size=1) for item in task.items]
    return TaskResult(
        **task.ref.model_dump(), boot_id=boot_id, outcome="succeeded", transfer=Transfer(), objects=objects
    )


def _check(unit: Unit, node: NodeName, sources: set[NodeName]) -> None:
    """What `node` was just given from `sources` had room."""
    in_hand = unit.tasks.links_in_hand(frozenset(NAMES))
    known = unit.nodes.get_many(frozenset(NAMES))
    at_node = sum(count for (_, destination), count in in_hand.items() if destination == node)
    assert not known[node].maintenance
    assert at_node <= (unit.limits.of_node(node).tasks_max or at_node)
    for source in sources:
        assert not known[source].maintenance
        served = sum(count for (src, _), count in in_hand.items() if src == source)
        assert served <= (unit.limits.of_node(source).serves_max or served)
        link = unit.limits.link(src_node=source, dst_node=node)
        over_link = in_hand[source, node]
        assert over_link <= ((link and link.tasks_max) or over_link)
    for task in unit.tasks.in_hand(node):
        job = unit.jobs.get(task.job_id)
        assert job is not None
        assert len(unit.tasks.live_of_jobs([job.id])) <= (job.tasks_max or 64)


@pytest.mark.parametrize("seed", range(8))
async def test_limits_hold_whatever_happens_and_keep_nothing_from_ending(seed: int) -> None:
    chance = Random(seed)
    fleet = Fleet(plane_in_memory(chance.uniform), chance)
    await fleet.open()
    for _ in range(STEPS):
        await fleet.step()
        fleet.plane.clock.advance(chance.choice([0, 0.01, 0.05]))
    await fleet.rest(resting=False)
    for _ in range(ROUNDS_MAX):
        for name in NAMES:
            await fleet.poll(name)
        live = await fleet.plane.jobs.page(cursor=None, limit=1, status="running")
        if not live.jobs:
            break
    ended = await fleet.plane.jobs.page(cursor=None, limit=1000, status="succeeded")
    assert sorted(job.id for job in ended.jobs) == fleet.jobs
