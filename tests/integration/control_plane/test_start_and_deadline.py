"""Jobs that begin later, and jobs that must have ended by some moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from replicator.testing.control_plane import ControlPlaneUnderTest
from replicator.wire.jobs import JobView

pytestmark = pytest.mark.anyio

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATER_S, LATE_S = 3600, 7200


def at(plane: ControlPlaneUnderTest, seconds: float) -> str:
    """So many seconds from now, by the time of the database."""
    return (EPOCH + timedelta(milliseconds=plane.clock.wall_ms(), seconds=seconds)).isoformat()


async def submit(plane: ControlPlaneUnderTest, **request: Any) -> JobView:
    await plane.register("node1", "node2")
    await plane.submit("migrate", object_id="demo.bin", **request)
    return await plane.job()


async def patch(plane: ControlPlaneUnderTest, **change: Any) -> httpx.Response:
    response = await plane.http.patch("/jobs/1", json=change)
    await plane.settle()
    return response


async def advance(plane: ControlPlaneUnderTest, seconds: float) -> None:
    plane.clock.advance(seconds)
    await plane.settle()


async def test_a_job_begins_when_its_start_has_come(plane: ControlPlaneUnderTest) -> None:
    job = await submit(plane, start_at=at(plane, LATER_S))
    assert (job.status, job.start_at) == (
        "queued",
        EPOCH + timedelta(milliseconds=plane.clock.wall_ms() + 3_600_000),
    )
    assert "its start" in (job.waiting_for or "")
    await advance(plane, LATER_S - 1)
    assert (await plane.job()).status == "queued"
    await advance(plane, 1)
    assert (await plane.job()).status == "running"
    node = await plane.connect("node2")
    await node.poll(results=[node.result(await node.claim())])
    assert (await plane.job()).status == "succeeded"
    assert [event.name for event in await plane.events()].count("start.due") == 1


async def test_a_start_that_is_over_is_at_once(plane: ControlPlaneUnderTest) -> None:
    assert (await submit(plane, start_at=at(plane, -5))).status == "running"


async def test_a_job_that_has_not_ended_by_its_deadline_is_cancelled(plane: ControlPlaneUnderTest) -> None:
    await submit(plane, deadline_at=at(plane, 30))
    node = await plane.connect("node2")
    task = await node.claim()
    for _ in range(3):
        plane.clock.advance(10)
        await node.poll(running=[node.progress(task, bytes_transferred=5)])
    await plane.settle()
    job = await plane.job()
    assert job.error is not None
    assert (job.status, job.error.code, job.error.error_class) == (
        "cancelling",
        "deadline-exceeded",
        "permanent",
    )
    reply = await node.poll(running=[node.progress(task, bytes_transferred=5)])
    assert [ref.task_id for ref in reply.cancel] == [task.task_id]
    await node.poll(results=[node.result(task, "cancelled", error=None)])
    job = await plane.job()
    assert job.error is not None
    assert (job.status, job.error.code) == ("cancelled", "deadline-exceeded")
    assert (await plane.http.post("/jobs/1/retry")).status_code == 409


async def test_a_job_that_waits_for_its_nodes_ends_at_its_deadline(plane: ControlPlaneUnderTest) -> None:
    await submit(plane, deadline_at=at(plane, LATER_S))
    await advance(plane, LATER_S)
    job = await plane.job()
    assert job.error is not None
    assert (job.status, job.error.code, job.progress.objects_failed) == ("cancelled", "deadline-exceeded", 0)


async def test_a_job_that_has_ended_has_no_deadline_any_more(plane: ControlPlaneUnderTest) -> None:
    await submit(plane, deadline_at=at(plane, LATER_S))
    node = await plane.connect("node2")
    await node.poll(results=[node.result(await node.claim())])
    await advance(plane, LATE_S)
    assert ((await plane.job()).status, (await plane.job()).error) == ("succeeded", None)


async def test_moments_that_cannot_be(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    for wrong in [
        {"deadline_at": at(plane, -1)},
        {"deadline_at": at(plane, 0)},
        {"start_at": at(plane, LATER_S), "deadline_at": at(plane, LATER_S)},
        {"start_at": "2026-05-31T22:00:00"},
        {"start_at": "0001-01-01T00:00:00+14:00"},
        {"deadline_at": "soon"},
    ]:
        message = {"src_node": "node1", "dst_node": "node2", "object_id": "a", **wrong}
        for kind in ("migrate", "mirror", "verify"):
            asked = {
                name: value for name, value in message.items() if kind == "migrate" or name != "object_id"
            }
            response = await plane.http.post(f"/jobs/{kind}", json=asked)
            assert response.status_code in {400, 422}, (kind, wrong)
    assert (await plane.http.get("/jobs")).json()["jobs"] == []


async def test_the_same_submission_is_the_same_job_when_its_deadline_is_over(
    plane: ControlPlaneUnderTest,
) -> None:
    await plane.register("node1", "node2")
    message = {"src_node": "node1", "dst_node": "node2", "object_id": "a", "deadline_at": at(plane, LATER_S)}
    headers = {"Idempotency-Key": "k"}
    assert (await plane.http.post("/jobs/migrate", json=message, headers=headers)).status_code == 201
    await advance(plane, LATE_S)
    again = await plane.http.post("/jobs/migrate", json=message, headers=headers)
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


async def test_a_start_changes_until_the_job_has_begun(plane: ControlPlaneUnderTest) -> None:
    await submit(plane, start_at=at(plane, LATER_S))
    assert (await patch(plane, start_at=at(plane, LATE_S))).status_code == 200
    await advance(plane, LATER_S)
    assert (await plane.job()).status == "queued"
    assert (await patch(plane, start_at=None)).status_code == 200
    assert ((await plane.job()).status, (await plane.job()).start_at) == ("running", None)
    assert (await patch(plane, start_at=at(plane, LATER_S))).status_code == 409


async def test_a_deadline_changes_while_the_job_lives(plane: ControlPlaneUnderTest) -> None:
    await submit(plane, deadline_at=at(plane, LATER_S))
    assert (await patch(plane, deadline_at=at(plane, -1))).status_code in {400, 422}
    assert (await patch(plane, deadline_at=at(plane, LATE_S))).status_code == 200
    await advance(plane, LATER_S)
    assert (await plane.job()).status == "running"
    assert (await patch(plane, deadline_at=None)).status_code == 200
    await advance(plane, LATE_S)
    assert (await plane.job()).status == "running"
    await plane.ask(1, "cancel")
    assert (await patch(plane, deadline_at=at(plane, LATE_S))).status_code == 409


async def test_both_moments_move_together(plane: ControlPlaneUnderTest) -> None:
    await submit(plane, start_at=at(plane, 10), deadline_at=at(plane, 20))
    assert (await patch(plane, start_at=at(plane, 30))).status_code in {400, 422}
    assert (await patch(plane, start_at=at(plane, 30), deadline_at=at(plane, 30))).status_code in {400, 422}
    assert (await patch(plane, start_at=at(plane, 30), deadline_at=at(plane, 40))).status_code == 200
    await advance(plane, 25)
    assert (await plane.job()).status == "queued"


@pytest.mark.parametrize(
    ("done", "status_at_once", "status_later"),
    [
        ((), "queued", "running"),
        (("pause",), "paused", "paused"),
        (("pause", "resume"), "queued", "running"),
        (("cancel",), "cancelled", "cancelled"),
        (("pause", "cancel"), "cancelled", "cancelled"),
    ],
)
async def test_what_becomes_of_a_job_whose_start_is_to_come(
    plane: ControlPlaneUnderTest, done: tuple[str, ...], status_at_once: str, status_later: str
) -> None:
    await submit(plane, start_at=at(plane, LATER_S))
    for what in done:
        await plane.ask(1, what)
    assert (await plane.job()).status == status_at_once
    await advance(plane, LATER_S)
    assert (await plane.job()).status == status_later
    if status_later == "paused":
        await plane.ask(1, "resume")
        assert (await plane.job()).status == "running"


@pytest.mark.parametrize("done", [(), ("pause",)])
async def test_a_deadline_ends_what_has_not_begun_or_is_paused(
    plane: ControlPlaneUnderTest, done: tuple[str, ...]
) -> None:
    await submit(plane, start_at=at(plane, LATER_S), deadline_at=at(plane, LATER_S + 1))
    for what in done:
        await plane.ask(1, what)
    await advance(plane, LATER_S + 1)
    job = await plane.job()
    assert job.error is not None
    assert (job.status, job.error.code) == ("cancelled", "deadline-exceeded")


async def test_a_job_that_is_tried_again_is_not_held_to_a_deadline_that_is_over(
    plane: ControlPlaneUnderTest,
) -> None:
    await submit(plane, deadline_at=at(plane, LATER_S))
    node = await plane.connect("node2")
    await node.poll(results=[node.failure(await node.claim(), "permanent")])
    await advance(plane, LATE_S)
    assert (await plane.job()).status == "failed"
    retried = await plane.ask(1, "retry")
    assert (retried.status, retried.deadline_at) == ("running", None)
    await node.open()
    await node.poll(results=[node.result(await node.claim())])
    assert (await plane.job()).status == "succeeded"
