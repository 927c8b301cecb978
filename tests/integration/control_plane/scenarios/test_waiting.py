"""Who waits in one replica hears of what is committed in another, whatever it waits for.

Time stands still, so a poll that is not woken waits for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from replicator.testing.control_plane import FakeNode
from replicator.testing.scenarios import Fleet, fleet_in

pytestmark = pytest.mark.anyio

TASKS = 5
DEADLINE_S = 60
WAIT_S = 30


@pytest.fixture
async def fleet(data_dir: str, place: str | None, anyio_backend: str) -> AsyncIterator[Fleet]:
    """Replicas that follow each other's wakes."""
    patient = {"poll_seconds": WAIT_S, "session_lease_seconds": 3600}
    async with fleet_in(data_dir, database_url=place, follow_wakes=True, **patient) as fleet:
        yield fleet


async def connected(fleet: Fleet, *names: str) -> list[FakeNode]:
    """Nodes each of which speaks to a replica of its own, as far as there are so many."""
    replicas = fleet.replicas
    nodes = [FakeNode(replicas[index % len(replicas)].http, name, boot=1) for index, name in enumerate(names)]
    for node in nodes:
        await node.open()
    return nodes


async def work(node: FakeNode, tasks: int) -> None:
    """Do so many tasks, waiting for each."""
    while tasks:
        claimed = (await node.poll(wait_seconds=WAIT_S)).tasks
        await node.poll(results=[node.result(task) for task in claimed], capacity=0)
        tasks -= len(claimed)


async def awaited(fleet: Fleet, topic: str) -> None:
    while not any(replica.parts.wakeups.is_awaited(topic) for replica in fleet.replicas):
        await asyncio.sleep(0.001)


async def test_a_place_at_a_source_is_heard_of_at_every_replica(fleet: Fleet) -> None:
    await fleet.register("source", "dst-a", "dst-b")
    (await fleet.http.put("/nodes/source/limits", json={"serves_max": 1})).raise_for_status()
    nodes = await connected(fleet, "dst-a", "dst-b")
    for number in range(TASKS):
        for node in nodes:
            await fleet.migrate(f"object-{number}", src="source", dst=node.name)
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*(work(node, TASKS) for node in nodes))
    assert {job.status for job in await fleet.jobs()} == {"succeeded"}


async def test_new_work_and_the_end_of_a_maintenance_are_heard_of_at_every_replica(fleet: Fleet) -> None:
    await fleet.register("source", "dst-a", "dst-b")
    nodes = await connected(fleet, "dst-a", "dst-b")
    (await fleet.http.patch("/nodes/dst-b", json={"maintenance": True})).raise_for_status()
    async with asyncio.timeout(DEADLINE_S):
        working = [asyncio.create_task(work(node, 1)) for node in nodes]
        await asyncio.gather(*(awaited(fleet, node.name) for node in nodes))
        for node in nodes:
            await fleet.migrate("object", src="source", dst=node.name)
        await working[0]
        assert not working[1].done()
        await awaited(fleet, "dst-b")
        (await fleet.http.patch("/nodes/dst-b", json={"maintenance": False})).raise_for_status()
        await working[1]
    assert {job.status for job in await fleet.jobs()} == {"succeeded"}
