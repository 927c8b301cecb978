"""Limits of tasks hold however many claim at once, and stop nothing for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from replicator.testing.control_plane import FakeNode
from replicator.testing.scenarios import Fleet
from replicator.wire.sessions import TaskAssignment

pytestmark = pytest.mark.anyio

SOURCES, DESTINATIONS = ("src-a", "src-b"), ("dst-a", "dst-b", "dst-c")
Counts = Callable[[str, TaskAssignment], bool]


@dataclass
class Hands:
    """What all nodes have in hand, and the most that was ever there of what is counted."""

    counts: Counts
    held: Counter[str] = field(default_factory=Counter)
    most: int = 0
    done: int = 0

    async def work(self, node: FakeNode, *, until: int) -> None:
        """A node that asks again before it is done with what it has, from several places at once."""
        held: dict[int, TaskAssignment] = {}
        while self.done < until:
            running = [node.progress(task) for task in held.values()]
            reply = await node.poll(running=running, capacity=4)
            for task in reply.tasks:
                held[task.task_id] = task
                self.held["all"] += self.counts(node.name, task)
            self.most = max(self.most, self.held["all"])
            if held and (len(held) > 2 or not reply.tasks):
                _, task = held.popitem()
                self.held["all"] -= self.counts(node.name, task)
                still = [node.progress(each) for each in held.values()]
                await node.poll(running=still, results=[node.result(task)], capacity=0)
                self.done += 1


async def submitted(fleet: Fleet, jobs: int) -> list[FakeNode]:
    await fleet.register(*SOURCES, *DESTINATIONS)
    nodes = [await fleet.connect(name) for name in DESTINATIONS]
    for number in range(jobs):
        await fleet.migrate(f"object-{number}", src=SOURCES[number % 2], dst=DESTINATIONS[number % 3])
    return nodes


@pytest.mark.parametrize(
    ("path", "limit", "places", "counts"),
    [
        ("/nodes/dst-a/limits", {"tasks_max": 2}, 2, lambda name, _: name == "dst-a"),
        ("/nodes/src-a/limits", {"serves_max": 2}, 2, lambda _, task: task.source.node == "src-a"),
        (
            "/links/src-a/dst-a",
            {"tasks_max": 1},
            1,
            lambda name, task: (task.source.node, name) == ("src-a", "dst-a"),
        ),
    ],
)
async def test_no_more_than_allowed_is_ever_in_hand_and_all_is_done(
    fleet: Fleet, path: str, limit: dict[str, int], places: int, counts: Counts
) -> None:
    nodes = await submitted(fleet, 18)
    (await fleet.http.put(path, json=limit)).raise_for_status()
    hands = Hands(counts)
    await asyncio.gather(*(hands.work(node, until=18) for node in nodes))
    assert 0 < hands.most <= places
    assert {job.status for job in await fleet.jobs()} == {"succeeded"}


async def test_a_job_has_no_more_tasks_at_a_time_than_it_may(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    node = await fleet.connect("node2")
    job = await fleet.submit("migrate", object_ids=[f"object-{n:04}" for n in range(600)], tasks_max=2)
    while (await fleet.job(job)).finished_at is None:
        tasks = (await node.poll(capacity=16)).tasks
        assert len(tasks) <= 2
        await node.poll(results=[node.result(task) for task in tasks], capacity=0)
        await fleet.settle()
    assert (await fleet.job(job)).progress.objects_verified == 600


async def test_polls_of_one_node_at_once_do_not_exceed_its_limit(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    node = await fleet.connect("node2")
    for number in range(12):
        await fleet.migrate(f"object-{number}")
    (await fleet.http.put("/nodes/node2/limits", json={"tasks_max": 3})).raise_for_status()
    replies = await asyncio.gather(*(node.poll(capacity=4) for _ in range(8)))
    assert len({task.task_id for reply in replies for task in reply.tasks}) <= 3


async def test_a_node_in_maintenance_finishes_what_it_has_and_is_given_no_more(fleet: Fleet) -> None:
    await fleet.register("node1", "node2", "node3")
    node, other = await fleet.connect("node2"), await fleet.connect("node3")
    first = await fleet.migrate("first")
    task = await node.claim()
    second = await fleet.migrate("second")
    from_it = await fleet.migrate("third", src="node2", dst="node3")
    (await fleet.http.patch("/nodes/node2", json={"maintenance": True})).raise_for_status()
    assert (await node.poll(running=[node.progress(task)])).tasks == []
    assert (await other.poll()).tasks == [], "nothing is read from it"
    await node.poll(results=[node.result(task)])
    assert [(await fleet.job(job)).status for job in (first, second)] == ["succeeded", "running"]
    (await fleet.http.patch("/nodes/node2", json={"maintenance": False})).raise_for_status()
    await node.poll(results=[node.result(await node.claim())])
    await other.poll(results=[other.result(await other.claim())])
    assert [(await fleet.job(job)).status for job in (second, from_it)] == ["succeeded", "succeeded"]
