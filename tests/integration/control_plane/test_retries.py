"""What follows a failed attempt, by the class of its error."""

from __future__ import annotations

import pytest

from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode, control_plane_in
from replicator.wire.jobs import JobView
from replicator.wire.sessions import TaskAssignment

pytestmark = pytest.mark.anyio


async def leased(plane: ControlPlaneUnderTest) -> tuple[FakeNode, TaskAssignment]:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.migrate()
    return node, await node.claim()


def assert_balanced(job: JobView) -> None:
    progress = job.progress
    done = progress.objects_verified + progress.objects_skipped + progress.objects_failed
    assert progress.objects_planned == done
    assert progress.bytes_logical == progress.bytes_transferred + progress.bytes_deduplicated


async def test_a_permanent_error_fails_the_job_at_once(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    await node.poll(results=[node.failure(task, "permanent", "not-found")])
    job = await plane.job()
    assert (job.status, job.attempts) == ("failed", 1)
    assert job.error is not None
    assert (job.error.error_class, job.error.code) == ("permanent", "not-found")
    assert (job.progress.objects_planned, job.progress.objects_failed) == (1, 1)
    assert_balanced(job)


@pytest.mark.parametrize("error_class", ["transient", "throttled"])
async def test_attempts_that_count_are_delayed_and_capped(data_dir: str, error_class: str) -> None:
    async with control_plane_in(data_dir, attempts_max=3) as plane:
        node, task = await leased(plane)
        delays_s = []
        for attempt in (1, 2):
            assert task.attempt == attempt
            await node.poll(results=[node.failure(task, error_class)])
            job = await plane.job()
            assert job.status == "running"
            assert job.error is not None
            assert job.waiting_for is not None
            delays_s.append(job.waiting_for)
            await plane.settle()
            assert (await node.poll()).tasks == []
            plane.clock.advance(4)
            await plane.settle()
            task = await node.claim()
        assert delays_s == ["the next attempt; retrying in 2 s", "the next attempt; retrying in 3 s"]
        await node.poll(results=[node.failure(task, error_class)])
        job = await plane.job()
        assert (job.status, job.attempts) == ("failed", 3)
        assert_balanced(job)


async def test_a_source_that_is_down_is_waited_for_without_counting(data_dir: str) -> None:
    async with control_plane_in(data_dir, attempts_max=1) as plane:
        node, task = await leased(plane)
        await node.poll(results=[node.failure(task, "node-down", "peer-unreachable")])
        job = await plane.job()
        assert (job.status, job.waiting_for) == ("running", "node1 to answer; retrying in 2 s")
        assert (await node.poll()).tasks == []
        await plane.connect("node1")
        assert (await node.claim()).attempt == 2


async def test_a_parked_task_is_tried_again_by_itself(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    await node.poll(results=[node.failure(task, "node-down", "peer-unreachable")])
    plane.clock.advance(2)
    await plane.settle()
    assert (await node.claim()).attempt == 2


async def test_a_node_is_not_waited_for_longer_than_the_limit(data_dir: str) -> None:
    async with control_plane_in(data_dir, park_limit_seconds=100, session_lease_seconds=3000) as plane:
        node, task = await leased(plane)
        for _ in range(20):
            await node.poll(results=[node.failure(task, "node-down", "peer-unreachable")])
            if (job := await plane.job()).status != "running":
                break
            plane.clock.advance(30)
            await plane.settle()
            task = await node.claim()
        assert job.status == "failed"
        assert job.error is not None
        assert job.error.code == "peer-unreachable"
        assert_balanced(job)


async def test_bytes_that_arrived_show_that_the_source_is_not_gone(data_dir: str) -> None:
    async with control_plane_in(data_dir, park_limit_seconds=100, session_lease_seconds=3000) as plane:
        node, task = await leased(plane)
        for _ in range(8):
            transfer = {"bytes_logical": 1000, "bytes_transferred": 10}
            await node.poll(results=[node.failure(task, "node-down") | {"transfer": transfer}])
            plane.clock.advance(30)
            await plane.settle()
            task = await node.claim()
        assert (await plane.job()).progress.bytes_transferred == 80


async def test_a_destination_that_never_comes_is_given_up(data_dir: str) -> None:
    async with control_plane_in(data_dir, park_limit_seconds=3600) as plane:
        await plane.register("node1", "node2")
        plane.clock.advance(7200)
        await plane.migrate()
        plane.clock.advance(3599)
        await plane.settle()
        job = await plane.job()
        assert (job.status, job.waiting_for) == ("running", "node2 to connect")
        plane.clock.advance(1)
        await plane.settle()
        job = await plane.job()
        assert (job.status, job.attempts) == ("failed", 0)
        assert job.error is not None
        assert job.error.message == "node2 has not connected for 1 h"
        assert_balanced(job)


async def test_a_failure_without_a_reason_is_tried_again(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    await node.poll(results=[node.result(task, "failed")])
    job = await plane.job()
    assert job.status == "running"
    assert job.error is not None
    assert job.error.error_class == "transient"


async def test_an_attempt_that_a_node_gave_up_is_tried_again(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    await node.poll(results=[node.result(task, "cancelled")])
    assert (await plane.job()).status == "running"
    plane.clock.advance(3)
    await plane.settle()
    assert (await node.claim()).attempt == 2


async def test_a_failure_with_bytes_balances(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    transfer = {"bytes_logical": 1000, "bytes_transferred": 300, "bytes_deduplicated": 200}
    await node.poll(results=[node.failure(task, "permanent") | {"transfer": transfer}])
    job = await plane.job()
    assert (job.progress.bytes_transferred, job.progress.bytes_deduplicated) == (300, 200)
    assert_balanced(job)
