"""The control plane ends in the middle of jobs and comes back over the same data."""

from __future__ import annotations

import pytest

from replicator.testing.control_plane import FakeNode, ManualClock, control_plane_in

pytestmark = pytest.mark.anyio


async def test_a_running_attempt_goes_on_over_a_restart(data_dir: str) -> None:
    clock = ManualClock()
    async with control_plane_in(data_dir, clock=clock) as plane:
        await plane.register("node1", "node2")
        node = await plane.connect("node2")
        await plane.migrate()
        task = await node.claim()
    clock.advance(3600)
    async with control_plane_in(data_dir, clock=clock) as plane:
        await plane.settle()
        survivor = FakeNode(plane.http, "node2")
        survivor.session_id = node.session_id
        reply = await survivor.poll(running=[survivor.progress(task)])
        assert reply.abandon == []
        await survivor.poll(results=[survivor.result(task)])
        job = await plane.job()
        assert (job.status, job.attempts) == ("succeeded", 1)


async def test_a_node_that_does_not_come_back_after_a_restart_is_missed(data_dir: str) -> None:
    clock = ManualClock()
    async with control_plane_in(data_dir, clock=clock) as plane:
        await plane.register("node1", "node2")
        node = await plane.connect("node2")
        await plane.migrate()
        await node.claim()
    async with control_plane_in(data_dir, clock=clock) as plane:
        clock.advance(14)
        await plane.settle()
        assert (await plane.node("node2")).status == "connected"
        clock.advance(1)
        await plane.settle()
        assert (await plane.node("node2")).status == "disconnected"
        assert (await plane.job()).status == "running"


async def test_what_was_accepted_is_there_after_a_restart(data_dir: str) -> None:
    key = {"Idempotency-Key": "once"}
    message = {"src_node": "node1", "dst_node": "node2", "object_id": "demo.bin"}
    async with control_plane_in(data_dir) as plane:
        await plane.register("node1", "node2")
        await plane.http.post("/jobs/migrate", json=message, headers=key)
    async with control_plane_in(data_dir) as plane:
        again = await plane.http.post("/jobs/migrate", json=message, headers=key)
        assert (again.status_code, again.json()["id"]) == (200, 1)
        await plane.settle()
        node = await plane.connect("node2")
        await node.poll(results=[node.result(await node.claim())])
        assert (await plane.job()).status == "succeeded"


async def test_no_wait_gets_longer_when_the_clock_was_set_back(data_dir: str) -> None:
    clock = ManualClock()
    async with control_plane_in(data_dir, clock=clock) as plane:
        await plane.register("node1", "node2")
        node = await plane.connect("node2")
        await plane.migrate()
        await node.poll(results=[node.failure(await node.claim(), "transient")])
    clock.advance(-30 * 86_400)
    async with control_plane_in(data_dir, clock=clock, backoff_max_seconds=60) as plane:
        clock.advance(61)
        await plane.settle()
        node = await plane.connect("node2", boot=2)
        assert (await node.claim()).attempt == 2
