"""Many nodes claim at once, each from whichever replica answers: every task goes to one of them, once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from replicator.testing.control_plane import FakeNode
from replicator.testing.scenarios import Fleet, balanced
from replicator.wire.sessions import TaskAssignment

pytestmark = pytest.mark.anyio


async def work_off(node: FakeNode, *, at_once: int) -> list[TaskAssignment]:
    """Claim and complete until there is nothing more."""
    done: list[TaskAssignment] = []
    while tasks := (await node.poll(capacity=at_once)).tasks:
        await node.poll(capacity=0, results=[node.result(task) for task in tasks])
        done.extend(tasks)
    return done


async def test_every_task_is_carried_out_once(fleet: Fleet) -> None:
    names = [f"worker-{number}" for number in range(6)]
    await fleet.register("node1", *names)
    nodes = [await fleet.connect(name) for name in names]
    submitted = [await fleet.migrate(f"object-{number}", dst=names[number % 6]) for number in range(36)]
    done = await asyncio.gather(*(work_off(node, at_once=3) for node in nodes))
    carried = Counter(task.job_id for tasks in done for task in tasks)
    assert carried == dict.fromkeys(submitted, 1)
    jobs = await fleet.jobs()
    assert {(job.status, job.attempts) for job in jobs} == {("succeeded", 1)}
    assert all(balanced(job) for job in jobs)


async def test_polls_of_one_session_at_once_never_lease_a_task_twice(fleet: Fleet) -> None:
    """A client that gave up on a poll asks again elsewhere, while the first still runs."""
    await fleet.register("node1", "node2")
    node = await fleet.connect("node2")
    for number in range(8):
        await fleet.migrate(f"object-{number}")
    replies = await asyncio.gather(*(node.poll(capacity=2) for _ in range(8)))
    claimed = {task.ref for reply in replies for task in reply.tasks}
    assert {ref.epoch for ref in claimed} == {1}
    await node.poll(
        capacity=0, results=[node.result(task) for reply in replies for task in reply.tasks], running=[]
    )
    await work_off(node, at_once=8)
    assert {(job.status, job.attempts) for job in await fleet.jobs()} == {("succeeded", 1)}


async def test_a_task_that_is_ready_wakes_a_poll_that_waits_at_another_replica(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    node = await fleet.connect("node2")
    waiting = asyncio.create_task(node.poll(wait_seconds=8))
    first, second = (asyncio.create_task(fleet.migrate(object_id)) for object_id in ("a", "b"))
    reply = await waiting
    assert reply.tasks
    await asyncio.gather(first, second)


async def test_a_job_of_many_objects_is_shared_out_and_counted_once(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    node = await fleet.connect("node2")
    job = await fleet.submit("migrate", object_ids=[f"object-{number:03}" for number in range(600)])
    done = 0
    while (await fleet.job(job)).finished_at is None:
        tasks = (await node.poll(capacity=2)).tasks
        done += sum(len(task.items) for task in tasks)
        await node.poll(capacity=0, results=[node.result(task) for task in tasks])
        await fleet.settle()
    view = await fleet.job(job)
    assert (done, view.status, view.progress.objects_verified) == (600, "succeeded", 600)
    assert balanced(view)
