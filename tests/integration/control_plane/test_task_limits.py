"""How many tasks there are at a time: of a job, at a node, from a node, over a link, and none in maintenance."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from replicator.control_plane.services import claiming
from replicator.runtime.clock import SystemClock
from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode, control_plane_in
from replicator.wire.sessions import PollReply, TaskAssignment

pytestmark = pytest.mark.anyio

DEADLINE_S = 30


async def put(plane: ControlPlaneUnderTest, path: str, **limits: int | None) -> None:
    (await plane.http.put(path, json=limits)).raise_for_status()


async def patch(plane: ControlPlaneUnderTest, path: str, **change: Any) -> None:
    (await plane.http.patch(path, json=change)).raise_for_status()
    await plane.settle()


async def nodes(plane: ControlPlaneUnderTest, *names: str) -> list[FakeNode]:
    await plane.register("node1", "node2", "node3", "node4")
    return [await plane.connect(name) for name in names]


def ids(tasks: list[TaskAssignment]) -> list[str]:
    return [task.items[0].object_id for task in tasks]


async def done(
    node: FakeNode, *tasks: TaskAssignment, running: Sequence[TaskAssignment] = ()
) -> list[TaskAssignment]:
    """Report that these are done, and those still at work; what there is to do instead."""
    at_work = [node.progress(task) for task in running]
    return (await node.poll(results=[node.result(task) for task in tasks], running=at_work)).tasks


async def test_a_job_has_no_more_tasks_at_a_time_than_it_may(plane: ControlPlaneUnderTest) -> None:
    (node,) = await nodes(plane, "node2")
    job = await plane.submit("migrate", object_ids=[f"o{number:03}" for number in range(300)], tasks_max=1)
    assert (await plane.job(job)).tasks_max == 1
    (first,) = (await node.poll()).tasks
    assert (await node.poll(running=[node.progress(first)])).tasks == []
    await patch(plane, f"/jobs/{job}", tasks_max=3)
    two = (await node.poll(running=[node.progress(first)])).tasks
    assert len(two) == 2
    await patch(plane, f"/jobs/{job}", tasks_max=1)
    assert await done(node, first, running=two) == []
    await plane.settle()
    assert (await node.poll(running=[node.progress(task) for task in two])).tasks == []
    assert await done(node, *two) == []
    await plane.settle()
    (fourth,) = (await node.poll()).tasks
    await patch(plane, f"/jobs/{job}", tasks_max=None)
    rest = (await node.poll(running=[node.progress(fourth)])).tasks
    await done(node, fourth, *rest)
    assert (await plane.job(job)).status == "succeeded"


async def test_a_node_takes_no_more_tasks_than_it_may(plane: ControlPlaneUnderTest) -> None:
    (node,) = await nodes(plane, "node2")
    for name in "abcd":
        await plane.migrate(name)
    await put(plane, "/nodes/node2/limits", tasks_max=2)
    taken = (await node.poll()).tasks
    assert ids(taken) == ["a", "b"]
    running = [node.progress(task) for task in taken]
    assert (await node.poll(running=running)).tasks == []
    assert (await plane.job(3)).waiting_for == "a place at node2: 2 of 2 tasks are in hand there"
    await put(plane, "/nodes/node2/limits", tasks_max=1)
    assert await done(node, taken[0], running=taken[1:]) == []
    assert ids(await done(node, taken[1])) == ["c"]


async def test_a_node_serves_no_more_tasks_than_it_may(plane: ControlPlaneUnderTest) -> None:
    second, third = await nodes(plane, "node2", "node3")
    await put(plane, "/nodes/node1/limits", serves_max=2)
    await plane.migrate("a", dst="node2")
    for name in "bc":
        await plane.migrate(name, dst="node3")
    await plane.migrate("from-elsewhere", src="node4", dst="node3")
    assert ids((await second.poll()).tasks) == ["a"]
    taken = (await third.poll()).tasks
    assert ids(taken) == ["b", "from-elsewhere"]
    assert (await plane.job(3)).waiting_for == "a place at node1: 2 of 2 tasks read from it"
    await put(plane, "/nodes/node1/limits", serves_max=3)
    running = [third.progress(task) for task in taken]
    assert ids((await third.poll(running=running)).tasks) == ["c"]


async def test_a_link_carries_no_more_tasks_than_it_may(plane: ControlPlaneUnderTest) -> None:
    second, third = await nodes(plane, "node2", "node3")
    await put(plane, "/links/node1/node2", tasks_max=1)
    for name in "abc":
        await plane.migrate(name, dst="node2")
        await plane.migrate(name + name, dst="node3")
    (taken,) = (await second.poll()).tasks
    assert taken.items[0].object_id == "a"
    assert ids((await third.poll()).tasks) == ["aa", "bb", "cc"]
    assert ids(await done(second, taken)) == ["b"]
    (await plane.http.delete("/links/node1/node2")).raise_for_status()
    assert "c" in ids((await second.poll()).tasks)


async def test_what_is_blocked_is_passed_over_however_much_it_is(plane: ControlPlaneUnderTest) -> None:
    (node,) = await nodes(plane, "node2")
    await put(plane, "/links/node1/node2", tasks_max=1)
    await put(plane, "/nodes/node3/limits", serves_max=2)
    for number in range(6):
        await plane.migrate(f"one-{number}", src="node1")
        await plane.migrate(f"three-{number}", src="node3")
    await plane.migrate("last", src="node4")
    taken = (await node.poll(capacity=5)).tasks
    assert ids(taken) == ["one-0", "three-0", "three-1", "last"]


async def test_in_maintenance_a_node_takes_nothing_and_nobody_reads_from_it(
    plane: ControlPlaneUnderTest,
) -> None:
    second, third = await nodes(plane, "node2", "node3")
    await plane.migrate("a", src="node1", dst="node2")
    (running,) = (await second.poll()).tasks
    await patch(plane, "/nodes/node2", maintenance=True)
    await plane.migrate("b", src="node1", dst="node2")
    await plane.migrate("c", src="node2", dst="node3")
    await plane.migrate("d", src="node1", dst="node3")
    reply = await second.poll(running=[second.progress(running)])
    assert (reply.tasks, reply.cancel, reply.abandon) == ([], [], [])
    assert ids((await third.poll()).tasks) == ["d"]
    assert (await plane.job(2)).waiting_for == "the end of the maintenance of node2"
    assert await done(second, running) == []
    assert (await plane.job(1)).status == "succeeded"
    await patch(plane, "/nodes/node2", maintenance=False)
    assert ids((await second.poll()).tasks) == ["b"]
    assert "c" in ids((await third.poll()).tasks)


async def test_a_place_at_a_source_is_not_kept_by_who_leaves_it(plane: ControlPlaneUnderTest) -> None:
    second, third = await nodes(plane, "node2", "node3")
    await put(plane, "/nodes/node1/limits", serves_max=1)
    for name in "ab":
        await plane.migrate(name, dst="node2")
    await plane.migrate("c", dst="node3")
    (taken,) = (await second.poll()).tasks
    assert (await third.poll()).tasks == []
    assert await done(second, taken) == []
    (turn,) = (await third.poll()).tasks
    assert (await second.poll()).tasks == []
    assert await done(third, turn) == []
    assert ids((await second.poll()).tasks) == ["b"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/nodes/node1/limits", {"tasks_max": 0}, 422),
        ("/nodes/node1/limits", {"serves_max": -1}, 422),
        ("/links/node1/node2", {}, 422),
        ("/links/node1/node2", {"tasks_max": None}, 422),
        ("/links/node1/node2", {"tasks_max": 3}, 200),
        ("/links/node1/node2", {"tasks_max": 3, "bytes_per_second": 65536}, 200),
    ],
)
async def test_limits_that_are_none(
    plane: ControlPlaneUnderTest, path: str, body: dict[str, int | None], status: int
) -> None:
    await plane.register("node1", "node2")
    response = await plane.http.put(path, json=body)
    assert response.status_code == status
    if status == 200:
        shown = (await plane.http.get("/links")).json()["links"]
        assert shown == [
            {"src_node": "node1", "dst_node": "node2", "bytes_per_second": None, "tasks_max": None} | body
        ]


@pytest.fixture
async def on_real_time(data_dir: str, anyio_backend: str) -> AsyncIterator[ControlPlaneUnderTest]:
    """Polls may wait longer than the test may take, so that only a place that is free ends them."""
    async with control_plane_in(
        data_dir, clock=SystemClock(), poll_seconds=30, session_lease_seconds=3600
    ) as plane:
        yield plane


async def passed_over(
    plane: ControlPlaneUnderTest,
) -> tuple[FakeNode, TaskAssignment, asyncio.Task[PollReply]]:
    """The node that has the only place at node1 in hand, its task, and the poll of another that waits for it."""
    second, third = await nodes(plane, "node2", "node3")
    await put(plane, "/nodes/node1/limits", serves_max=1)
    await plane.migrate("a", dst="node2")
    await plane.migrate("b", dst="node3")
    (taken,) = (await second.poll()).tasks
    polling = asyncio.create_task(third.poll(wait_seconds=30))
    async with asyncio.timeout(DEADLINE_S):
        while not plane.parts.wakeups.is_awaited("*from-node1*"):
            await asyncio.sleep(0.001)
    return second, taken, polling


async def test_whoever_waits_for_a_place_hears_when_it_is_left(on_real_time: ControlPlaneUnderTest) -> None:
    second, taken, polling = await passed_over(on_real_time)
    await done(second, taken)
    async with asyncio.timeout(DEADLINE_S):
        assert ids((await polling).tasks) == ["b"]


async def test_whoever_waits_for_a_place_hears_when_there_are_more(
    on_real_time: ControlPlaneUnderTest,
) -> None:
    _, _, polling = await passed_over(on_real_time)
    await put(on_real_time, "/nodes/node1/limits", serves_max=2)
    async with asyncio.timeout(DEADLINE_S):
        assert ids((await polling).tasks) == ["b"]


async def test_whoever_waits_for_a_source_hears_when_its_maintenance_ends(
    on_real_time: ControlPlaneUnderTest,
) -> None:
    (second,) = await nodes(on_real_time, "node2")
    await patch(on_real_time, "/nodes/node1", maintenance=True)
    await on_real_time.migrate("a", dst="node2")
    polling = asyncio.create_task(second.poll(wait_seconds=30))
    async with asyncio.timeout(DEADLINE_S):
        while not on_real_time.parts.wakeups.is_awaited("*from-node1*"):
            await asyncio.sleep(0.001)
        await patch(on_real_time, "/nodes/node1", maintenance=False)
        assert ids((await polling).tasks) == ["a"]


async def test_limits_of_links_hold_however_many_links_are_limited(
    plane: ControlPlaneUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "LIMITED_MAX", 1)
    await plane.register("node0", "node1", "node2")
    node = await plane.connect("node2")
    for source in ("node0", "node1"):
        limit = await plane.http.put(f"/links/{source}/node2", json={"tasks_max": 1})
        limit.raise_for_status()
    for name in "ab":
        await plane.migrate(name)
    assert len((await node.poll()).tasks) == 1
