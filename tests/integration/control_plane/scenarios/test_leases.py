"""Workers that stall, die, come back late or twice: who may say how a task ended."""

from __future__ import annotations

import asyncio

import pytest

from replicator.testing.control_plane import FakeNode
from replicator.testing.scenarios import Fleet, leased

pytestmark = pytest.mark.anyio

HALF = {"bytes_logical": 100, "bytes_transferred": 60, "bytes_deduplicated": 40}


async def test_a_stalled_worker_is_found_and_healthy_ones_are_left_alone(fleet: Fleet) -> None:
    await fleet.register("node1", "stalled", "healthy")
    nodes = {name: await fleet.connect(name) for name in ("stalled", "healthy")}
    jobs = {name: await fleet.migrate(name, dst=name) for name in nodes}
    tasks = {name: await node.claim() for name, node in nodes.items()}
    for _ in range(4):
        fleet.clock.advance(5)
        await nodes["healthy"].poll(running=[nodes["healthy"].progress(tasks["healthy"])])
        await fleet.settle()
    assert [(await fleet.node(name)).status for name in nodes] == ["disconnected", "connected"]
    stalled = await fleet.job(jobs["stalled"])
    assert stalled.error is not None
    assert stalled.error.error_class == "node-down"
    healthy = await fleet.job(jobs["healthy"])
    assert (healthy.status, healthy.attempts, healthy.error) == ("running", 1, None)
    await nodes["healthy"].poll(results=[nodes["healthy"].result(tasks["healthy"])])
    assert (await fleet.job(jobs["healthy"])).status == "succeeded"


async def test_a_stale_completion_after_the_task_was_given_out_again_changes_nothing(fleet: Fleet) -> None:
    paused, old = await leased(fleet)
    fleet.clock.advance(20)
    await fleet.settle()
    fleet.clock.advance(20)
    await fleet.settle()
    successor = await fleet.connect("node2", boot=2)
    new = await successor.claim()
    assert (new.task_id, new.attempt) == (old.task_id, 2)
    assert new.epoch > old.epoch
    late = paused.result(old, transfer={"bytes_logical": 1, "bytes_transferred": 1})
    assert (await paused.poll_raw(results=[late])).status_code == 410
    await successor.poll(running=[successor.progress(new)], results=[late])
    job = await fleet.job()
    assert (job.status, job.progress.bytes_transferred) == ("running", 0)
    assert await fleet.metric("replicator_results_refused_total") == 1
    await successor.poll(results=[successor.result(new, transfer=HALF)])
    job = await fleet.job()
    assert (job.status, job.progress.bytes_transferred, job.progress.bytes_deduplicated) == (
        "succeeded",
        60,
        40,
    )


async def test_a_result_sent_to_every_replica_at_once_counts_once(fleet: Fleet) -> None:
    node, task = await leased(fleet)
    result = node.result(task, transfer=HALF)
    replies = await asyncio.gather(*(node.poll(results=[result]) for _ in range(8)))
    assert all(reply.acknowledged == [task.ref] for reply in replies)
    job = await fleet.job()
    assert (job.status, job.attempts, job.progress.bytes_transferred) == ("succeeded", 1, 60)
    assert await fleet.metric("replicator_results_refused_total") == 7


async def test_of_two_processes_with_one_name_only_the_latest_works(fleet: Fleet) -> None:
    first, task = await leased(fleet)
    twin = FakeNode(fleet.http, "node2", boot=2)
    await twin.open()
    assert (await first.poll_raw()).status_code == 410
    again = await twin.claim()
    assert again.epoch > task.epoch
    await first.open(first.result(task))
    assert (await twin.poll_raw(results=[twin.result(again)])).status_code == 410
    job = await fleet.job()
    assert job.status == "running"
    last = await first.claim()
    await first.poll(results=[first.result(last), twin.result(again)])
    assert (await fleet.job()).status == "succeeded"


async def test_a_lease_is_good_until_its_last_moment_and_not_at_its_end(fleet: Fleet) -> None:
    node, task = await leased(fleet)
    fleet.clock.advance(14.999)
    await fleet.settle()
    await node.poll(running=[node.progress(task)])
    fleet.clock.advance(15)
    assert (await node.poll_raw(results=[node.result(task)])).status_code == 410
    await fleet.settle()
    assert (await fleet.node("node2")).status == "disconnected"


async def test_many_dead_workers_are_found_and_none_of_their_tasks_is_lost(fleet: Fleet) -> None:
    names = [f"worker-{number}" for number in range(6)]
    await fleet.register("node1", *names)
    nodes = [await fleet.connect(name) for name in names]
    for name in names:
        await fleet.migrate(name, dst=name)
    for node in nodes:
        await node.claim()
    fleet.clock.advance(60)
    await fleet.settle()
    for name in names:
        successor = await fleet.connect(name, boot=2)
        await successor.poll(results=[successor.result(await successor.claim())])
    jobs = await fleet.jobs()
    assert {(job.status, job.attempts) for job in jobs} == {("succeeded", 2)}
