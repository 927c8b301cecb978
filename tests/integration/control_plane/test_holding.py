"""Jobs that are paused, resumed, tried again, and preferred."""

from __future__ import annotations

import pytest

from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode, error
from replicator.wire.sessions import TaskAssignment

pytestmark = pytest.mark.anyio


async def leased(plane: ControlPlaneUnderTest) -> tuple[FakeNode, TaskAssignment]:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.migrate()
    return node, await node.claim()


async def test_a_waiting_job_is_not_handed_out_while_it_is_paused(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await plane.http.post("/jobs/migrate", json={"src_node": "node1", "dst_node": "node2", "object_id": "a"})
    paused = await plane.ask(1, "pause")
    assert (paused.status, paused.waiting_for) == ("paused", "somebody to resume it")
    assert await plane.ask(1, "pause") == paused
    await plane.migrate("b")
    await plane.ask(2, "pause")
    node = await plane.connect("node2")
    assert (await node.poll()).tasks == []
    assert (await plane.ask(1, "resume")).status == "running"
    assert (await plane.ask(2, "resume")).status == "running"
    assert [task.items[0].object_id for task in (await node.poll()).tasks] == ["a", "b"]


async def test_a_running_attempt_is_told_to_stop_and_is_not_counted(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    assert (await plane.ask(1, "pause")).status == "paused"
    reply = await node.poll(running=[node.progress(task, bytes_transferred=5)])
    assert [ref.task_id for ref in reply.cancel] == [task.task_id]
    await node.poll(results=[node.result(task, "cancelled", transfer={"bytes_transferred": 6})])
    assert (await node.poll()).tasks == []
    view = await plane.job()
    assert (view.status, view.error, view.progress.bytes_transferred) == ("paused", None, 6)
    await plane.ask(1, "resume")
    again = await node.claim()
    assert again.attempt == 2
    objects = [{"row": 1, "outcome": "verified", "bytes_transferred": 4, "bytes_deduplicated": 6, "size": 10}]
    await node.poll(results=[node.result(again, objects=objects)])
    view = await plane.job()
    assert (view.status, view.progress.bytes_transferred, view.progress.bytes_logical) == (
        "succeeded",
        10,
        10,
    )


async def test_a_stop_that_was_asked_for_ends_though_the_job_goes_on(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    await plane.ask(1, "pause")
    await plane.ask(1, "resume")
    reply = await node.poll(running=[node.progress(task)])
    assert [ref.task_id for ref in reply.cancel] == [task.task_id]
    reply = await node.poll(results=[node.result(task, "cancelled")])
    assert [again.attempt for again in reply.tasks] == [2]


async def test_a_paused_job_may_end_with_what_was_in_hand(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    await plane.ask(1, "pause")
    await node.poll(results=[node.result(task)])
    assert (await plane.job()).status == "succeeded"
    for what in ("pause", "resume"):
        assert (await plane.http.post(f"/jobs/1/{what}")).status_code == 409


async def test_what_fails_while_its_job_is_paused_is_held(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    await plane.ask(1, "pause")
    await node.poll(results=[node.failure(task, "transient")])
    plane.clock.advance(3600)
    await plane.settle()
    assert (await node.poll_raw()).status_code == 410
    await node.open()
    assert (await node.poll()).tasks == []
    await plane.ask(1, "resume")
    assert (await node.claim()).attempt == 2


@pytest.mark.parametrize("returns", [True, False])
async def test_a_node_that_dies_while_its_job_is_paused_does_not_resume_it(
    plane: ControlPlaneUnderTest, returns: bool
) -> None:
    node, _ = await leased(plane)
    await plane.ask(1, "pause")
    if returns:
        node = await plane.connect("node2", boot=2)
    else:
        assert (await node.poll()).cancel == []
    assert (await node.poll()).tasks == []
    assert (await plane.job()).status == "paused"
    await plane.ask(1, "resume")
    plane.clock.advance(5)
    await plane.settle()
    assert (await node.claim()).attempt == 2


async def test_a_paused_job_can_be_cancelled(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    await plane.ask(1, "pause")
    assert (await plane.ask(1, "cancel")).status == "cancelling"
    assert (await plane.http.post("/jobs/1/resume")).status_code == 409
    await node.poll(results=[node.result(task, "cancelled")])
    assert (await plane.job()).status == "cancelled"
    assert (await plane.http.post("/jobs/1/retry")).status_code == 409


async def test_only_what_failed_is_tried_again(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.submit("migrate", object_ids=["a", "b", "c"])
    assert (await plane.http.post("/jobs/1/retry")).status_code == 409
    task = await node.claim()
    objects = [
        {"row": 1, "outcome": "verified", "bytes_transferred": 9, "size": 9},
        {"row": 2, "outcome": "failed", "bytes_transferred": 5, "error": error("permanent", "not-found")},
        {"row": 3, "outcome": "skipped", "bytes_deduplicated": 3, "size": 3},
    ]
    transfer = {"bytes_transferred": 14, "bytes_deduplicated": 3, "bytes_wire": 20}
    await node.poll(results=[node.result(task, objects=objects, transfer=transfer)])
    failed = await plane.job()
    assert (failed.status, failed.progress.bytes_logical) == ("partial", 17)
    retried = await plane.ask(1, "retry")
    assert (retried.status, retried.finished_at) == ("running", None)
    again = await node.claim()
    assert ([item.row for item in again.items], again.task_id != task.task_id) == ([2], True)
    objects = [{"row": 2, "outcome": "verified", "bytes_transferred": 1, "bytes_deduplicated": 5, "size": 6}]
    await node.poll(
        results=[node.result(again, objects=objects, transfer={"bytes_transferred": 1, "bytes_wire": 2})]
    )
    view = await plane.job()
    assert (view.status, view.error, view.attempts) == ("succeeded", None, 2)
    total = view.progress
    assert (total.objects_planned, total.objects_verified, total.objects_failed) == (3, 2, 0)
    assert (total.bytes_logical, total.bytes_transferred, total.bytes_deduplicated) == (18, 15, 3)
    assert total.bytes_wire == 22
    assert (await plane.http.post("/jobs/1/retry")).status_code == 409


async def test_a_job_of_higher_priority_goes_first_also_when_it_is_raised(
    plane: ControlPlaneUnderTest,
) -> None:
    await plane.register("node1", "node2")
    for number, priority in enumerate([0, 5, 0, 0]):
        await plane.submit("migrate", object_id=f"object-{number}", priority=priority)
        plane.clock.advance(1)
        await plane.settle()
    raised = (await plane.http.patch("/jobs/4", json={"priority": 9})).json()
    assert (raised["priority"], raised["bytes_per_second"]) == (9, None)
    node = await plane.connect("node2")
    assert [task.job_id for task in (await node.poll()).tasks] == [4, 2, 1, 3]


async def test_limits_reach_the_node_while_its_job_runs(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    running = [node.progress(task)]
    assert (await node.poll(running=running)).limits.jobs == {}
    await plane.http.patch("/jobs/1", json={"bytes_per_second": 50_000})
    assert (await node.poll(running=running)).limits.jobs == {1: 50_000}
    await plane.http.put("/nodes/node2/limits", json={"ingress_bytes_per_second": 90_000})
    await plane.http.put("/links/node1/node2", json={"bytes_per_second": 70_000})
    limits = (await node.poll(running=running)).limits
    assert (limits.ingress_bytes_per_s, limits.egress_bytes_per_s, limits.links) == (
        90_000,
        None,
        {"node1": 70_000},
    )
    await plane.http.patch("/jobs/1", json={"bytes_per_second": None})
    reply = await node.poll(results=[node.result(task)])
    assert reply.limits.jobs == {}
    assert (await plane.http.patch("/jobs/1", json={"priority": 1})).status_code == 409
