"""Jobs over many objects: batches, results that name some of them, and what is told of each."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.control_plane.domain.job_event import EVENTS_MAX
from replicator.control_plane.ports import Unit
from replicator.testing.control_plane import (
    ControlPlaneUnderTest,
    FakeNode,
    arrivals,
    control_plane_in,
    error,
)
from replicator.wire.sessions import TaskAssignment

pytestmark = pytest.mark.anyio

IDS = [f"object-{number:03}" for number in range(150)]


async def leased(plane: ControlPlaneUnderTest, count: int = 3) -> tuple[FakeNode, TaskAssignment]:
    """A job of `count` objects, whose one task node2 has in hand."""
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.submit("migrate", object_ids=IDS[:count])
    return node, await node.claim()


def said(row: int, outcome: str, **fields: Any) -> dict[str, Any]:
    return {"row": row, "outcome": outcome, **fields}


async def test_a_list_travels_in_batches(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    job = await plane.submit("migrate", object_ids=IDS)
    tasks = (await node.poll(capacity=10)).tasks
    assert [len(task.items) for task in tasks] == [64, 64, 22]
    assert [item.object_id for task in tasks for item in task.items] == IDS
    for task in tasks:
        await node.poll(capacity=0, results=[node.result(task)])
    view = await plane.job(job)
    assert (view.status, view.progress.objects_verified, view.attempts) == ("succeeded", 150, 3)
    assert view.selection == "object-000, object-001, object-002 and 147 more"


async def test_only_what_is_left_is_assigned_again(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane)
    objects = [
        said(1, "verified", size=10, bytes_transferred=10),
        said(2, "failed", bytes_transferred=4, error=error("transient", "unavailable")),
    ]
    transfer = {"bytes_transferred": 14, "bytes_wire": 20}
    await node.poll(
        results=[
            node.result(task, "failed", objects=objects, transfer=transfer, error=error("throttled", "busy"))
        ]
    )
    view = await plane.job()
    assert (view.status, view.progress.objects_planned, view.progress.objects_verified) == ("running", 3, 1)
    plane.clock.advance(10)
    await plane.settle()
    again = await node.claim()
    assert [item.row for item in again.items] == [2, 3]
    objects = [said(2, "verified", size=10, bytes_transferred=6, bytes_deduplicated=4)]
    objects += [said(3, "failed", error=error("permanent", "not-found"))]
    await node.poll(results=[node.result(again, objects=objects, transfer={"bytes_transferred": 6})])
    view = await plane.job()
    assert (view.status, view.error and view.error.code) == ("partial", "not-found")
    total = view.progress
    assert (total.objects_planned, total.objects_verified, total.objects_failed) == (3, 2, 1)
    assert (total.bytes_logical, total.bytes_transferred, total.bytes_deduplicated) == (20, 20, 0)
    assert total.bytes_wire == 20
    rows = await plane.objects()
    assert [(row.outcome, row.attempts) for row in rows] == [("verified", 1), ("verified", 2), ("failed", 2)]


async def test_rows_of_others_change_nothing(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane, 1)
    other = await plane.submit("migrate", object_ids=IDS[:2])
    objects = [*arrivals(task), said(2, "verified", bytes_transferred=5), said(9, "deleted")]
    await node.poll(capacity=0, results=[node.result(task, objects=objects)])
    assert (await plane.job()).progress.bytes_transferred == 0
    assert (await plane.job(other)).progress.objects_verified == 0


async def test_an_object_that_nothing_is_said_of_is_tried_again(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane, 2)
    await node.poll(results=[node.result(task, objects=arrivals(task)[:1])])
    view = await plane.job()
    assert (view.status, view.error and view.error.code) == ("running", "broken-peer")


async def test_attempts_run_out_for_what_is_left(data_dir: str) -> None:
    async with control_plane_in(data_dir, attempts_max=1) as plane:
        node, task = await leased(plane, 3)
        objects = [said(1, "skipped"), said(2, "failed", error=error("transient", "unavailable"))]
        await node.poll(results=[node.result(task, objects=objects)])
        view = await plane.job()
        assert (view.status, view.progress.objects_skipped, view.progress.objects_failed) == ("partial", 1, 2)
        failed = [row.error.code for row in await plane.objects() if row.error is not None]
        assert failed == ["unavailable", "broken-peer"]


async def test_what_happens_to_a_job_is_told_in_order(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane, 2)
    objects = [said(1, "verified"), said(2, "failed", error=error("permanent", "not-found"))]
    corrupt = [{"node": "node1", "digest": "a" * 64}]
    await node.poll(results=[node.result(task, objects=objects, corrupt=corrupt)])
    events = await plane.events()
    assert [event.id for event in events] == [1, 2, 3, 4, 5]
    assert [event.name for event in events] == [
        "job.queued",
        "job.running",
        "source.corrupt",
        "object.failed",
        "job.partial",
    ]
    assert events[2].fields == {"node": "node1", "digest": "a" * 64, "task": task.task_id}
    assert events[3].fields["object_id"] == IDS[1]
    assert "replicator_corrupt_sources_total 1.0" in (await plane.http.get("/metrics")).text


async def test_the_latest_events_are_kept(plane: ControlPlaneUnderTest) -> None:
    await leased(plane, 1)
    fields = [{"number": number} for number in range(EVENTS_MAX)]

    def append(unit: Unit) -> None:
        unit.events.append(1, "object.failed", *fields)
        unit.events.append(1, "job.running", {})

    await plane.parts.database.transact(append)
    events = await plane.events()
    assert (len(events), events[-1].name, events[0].id) == (EVENTS_MAX, "job.running", 4)


async def test_a_result_of_megabytes_is_taken(plane: ControlPlaneUnderTest) -> None:
    node, task = await leased(plane, 64)
    reason = {"class": "permanent", "code": "not-found", "message": "x" * 2000}
    objects = [said(item.row, "failed", error=reason) for item in task.items]
    result = node.result(task, objects=objects)
    stale = [result | {"epoch": 9 + number} for number in range(20)]
    response = await node.poll_raw(results=[result, *stale])
    assert len(response.request.content) > 2 * 1024 * 1024
    assert response.status_code == 200
    assert (await plane.job()).progress.objects_failed == 64
