"""Polls that wait: ended by news, by time, by a client that is gone, by the end of the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from replicator.runtime.clock import SystemClock
from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode, control_plane_in
from replicator.wire.sessions import Poll, PollReply

pytestmark = pytest.mark.anyio

DEADLINE_S = 30


@pytest.fixture
async def plane(data_dir: str, anyio_backend: str) -> AsyncIterator[ControlPlaneUnderTest]:
    """On real time; polls may wait longer than the test may take, so that only news ends them."""
    async with control_plane_in(
        data_dir, clock=SystemClock(), poll_seconds=30, session_lease_seconds=3600
    ) as plane:
        await plane.register("node1", "node2")
        yield plane


async def waiting(plane: ControlPlaneUnderTest, node: FakeNode, **message: object) -> asyncio.Task[PollReply]:
    """A poll that waits."""
    polling = asyncio.create_task(node.poll(wait_seconds=30, **message))
    async with asyncio.timeout(DEADLINE_S):
        while not plane.parts.wakeups.is_awaited(node.name):
            await asyncio.sleep(0.001)
    return polling


async def test_a_poll_answers_when_there_is_a_task(plane: ControlPlaneUnderTest) -> None:
    node = await plane.connect("node2")
    polling = await waiting(plane, node)
    await plane.migrate()
    async with asyncio.timeout(DEADLINE_S):
        assert [task.items[0].object_id for task in (await polling).tasks] == ["demo.bin"]


async def test_a_poll_answers_when_a_task_is_to_be_cancelled(plane: ControlPlaneUnderTest) -> None:
    node = await plane.connect("node2")
    await plane.migrate()
    task = await node.claim()
    polling = await waiting(plane, node, running=[node.progress(task)])
    await plane.http.post("/jobs/1/cancel")
    async with asyncio.timeout(DEADLINE_S):
        assert [ref.task_id for ref in (await polling).cancel] == [task.task_id]


async def test_what_happens_for_others_does_not_end_a_wait(plane: ControlPlaneUnderTest) -> None:
    node = await plane.connect("node1")
    polling = await waiting(plane, node)
    await plane.migrate()
    await plane.connect("node2")
    assert not polling.done()
    await plane.migrate("back.bin", src="node2", dst="node1")
    async with asyncio.timeout(DEADLINE_S):
        assert [task.items[0].object_id for task in (await polling).tasks] == ["back.bin"]


async def test_a_poll_without_news_ends_in_time(plane: ControlPlaneUnderTest) -> None:
    node = await plane.connect("node2")
    async with asyncio.timeout(DEADLINE_S):
        assert await node.poll(wait_seconds=0.05) == PollReply()


async def test_a_poll_with_results_does_not_wait(plane: ControlPlaneUnderTest) -> None:
    node = await plane.connect("node2")
    await plane.migrate()
    task = await node.claim()
    async with asyncio.timeout(DEADLINE_S):
        reply = await node.poll(wait_seconds=30, results=[node.result(task)])
    assert len(reply.acknowledged) == 1


async def test_a_wait_ends_with_its_session(plane: ControlPlaneUnderTest) -> None:
    before = await plane.connect("node2")
    polling = asyncio.create_task(before.poll_raw(wait_seconds=30))
    async with asyncio.timeout(DEADLINE_S):
        while not plane.parts.wakeups.is_awaited("node2"):
            await asyncio.sleep(0.001)
        await plane.connect("node2", boot=2)
        assert (await polling).status_code == 410


async def test_waits_end_when_the_process_does(plane: ControlPlaneUnderTest) -> None:
    polling = await waiting(plane, await plane.connect("node2"))
    plane.parts.wakeups.close()
    async with asyncio.timeout(DEADLINE_S):
        assert await polling == PollReply()


async def test_a_client_that_is_gone_is_given_nothing(plane: ControlPlaneUnderTest) -> None:
    node = await plane.connect("node2")
    asked = asyncio.Event()

    async def is_gone() -> bool:
        asked.set()
        return asked.is_set() and bool(await plane.http.get("/jobs/1"))

    link = plane.parts.services.link
    poll = Poll(boot_id=node.boot_id, wait_seconds=30, capacity=4)
    async with asyncio.timeout(DEADLINE_S):
        assert await link.poll(node.session_id, poll, is_gone=is_gone) == PollReply()
    await plane.migrate()
    assert (await node.claim()).attempt == 1


async def test_a_node_that_is_still_stopping_is_not_told_at_every_poll(plane: ControlPlaneUnderTest) -> None:
    node = await plane.connect("node2")
    await plane.migrate()
    running = [node.progress(await node.claim())]
    await plane.http.post("/jobs/1/cancel")
    assert len((await node.poll(wait_seconds=30, running=running)).cancel) == 1
    again = await waiting(plane, node, running=running)
    async with asyncio.timeout(DEADLINE_S):
        assert len((await again).cancel) == 1
