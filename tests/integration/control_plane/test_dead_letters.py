"""Tasks that nobody will try again by themselves, poison among them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from replicator.control_plane.services import dead_letters
from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode, control_plane_in

pytestmark = pytest.mark.anyio

LOSSES_MAX = 3


@pytest.fixture
async def fragile(data_dir: str, anyio_backend: str) -> AsyncIterator[ControlPlaneUnderTest]:
    """Few losses make a task poison."""
    async with control_plane_in(data_dir, losses_max=LOSSES_MAX) as plane:
        yield plane


async def letters(plane: ControlPlaneUnderTest, **params: Any) -> dict[str, Any]:
    response = await plane.http.get("/dead-letters", params=params)
    found: dict[str, Any] = response.raise_for_status().json()
    return found


async def failed(plane: ControlPlaneUnderTest, node: FakeNode, object_id: str) -> None:
    await plane.migrate(object_id)
    await node.poll(results=[node.failure(await node.claim(), "permanent", "corrupt")])


async def test_what_has_failed_for_good_is_listed_with_its_reason(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await failed(plane, node, "bad")
    await plane.migrate("good")
    await node.poll(results=[node.result(await node.claim())])
    (letter,) = (await letters(plane))["dead_letters"]
    assert letter.pop("failed_at").endswith("Z")
    assert letter == {
        "task_id": 1,
        "job_id": 1,
        "job_status": "failed",
        "kind": "pull",
        "src_node": "node1",
        "dst_node": "node2",
        "error": {"class": "permanent", "code": "corrupt", "message": "corrupt happened"},
        "objects_failed": 1,
        "attempts": 1,
        "losses": 0,
    }


async def test_a_retry_takes_them_off_whether_it_succeeds_or_not(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await failed(plane, node, "a")
    plane.clock.advance(1)
    await plane.ask(1, "retry")
    assert (await letters(plane))["dead_letters"] == []
    plane.clock.advance(1)
    await node.poll(results=[node.failure(await node.claim(), "permanent", "not-found")])
    (letter,) = (await letters(plane))["dead_letters"]
    assert (letter["task_id"], letter["error"]["code"]) == (2, "not-found")
    plane.clock.advance(1)
    await plane.ask(1, "retry")
    await node.poll(results=[node.result(await node.claim())])
    assert (await letters(plane))["dead_letters"] == []


async def test_they_come_in_pages_the_newest_first(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    for name in "abcde":
        await failed(plane, node, name)
    seen, params = [], {"limit": "2"}
    while True:
        page = await letters(plane, **params)
        seen.append([letter["task_id"] for letter in page["dead_letters"]])
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == [[5, 4], [3, 2], [1]]
    assert (await plane.http.get("/dead-letters", params={"cursor": "nonsense"})).status_code in {400, 422}


async def test_those_of_jobs_that_go_on_are_passed_over_a_bounded_number_at_a_time(
    plane: ControlPlaneUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "LOOKED_AT_ONCE", 2)
    monkeypatch.setattr(dead_letters, "PAGES_LOOKED_AT", 2)
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await failed(plane, node, "old")
    for name in "abcdef":
        await failed(plane, node, name)
    plane.clock.advance(1)
    for job in range(2, 8):
        await plane.ask(job, "retry")
    first = await letters(plane)
    assert (first["dead_letters"], first["next_cursor"] is not None) == ([], True)
    second = await letters(plane, cursor=first["next_cursor"])
    assert [letter["task_id"] for letter in second["dead_letters"]] == [1]
    assert second["next_cursor"] is None


async def test_a_task_that_ends_its_node_again_and_again_is_poison(fragile: ControlPlaneUnderTest) -> None:
    plane = fragile
    await plane.register("node1", "node2")
    await plane.migrate()
    plane_node = await plane.connect("node2", 1)
    for boot in range(2, LOSSES_MAX + 2):
        assert (await plane.job()).status == "running"
        await _take(plane, plane_node)
        plane_node = await plane.connect("node2", boot)
    job = await plane.job()
    assert job.error is not None
    assert (job.status, job.error.code, job.error.error_class) == ("failed", "poison", "permanent")
    assert f"{LOSSES_MAX} times" in job.error.message
    (letter,) = (await letters(plane))["dead_letters"]
    assert (letter["error"]["code"], letter["losses"], letter["attempts"]) == (
        "poison",
        LOSSES_MAX,
        LOSSES_MAX,
    )
    retried = await plane.ask(1, "retry")
    assert retried.status == "running"
    await plane_node.poll(results=[plane_node.result(await plane_node.claim())])
    assert (await plane.job()).status == "succeeded"


async def _silent(plane: ControlPlaneUnderTest, node: FakeNode) -> None:
    """The node has a task in hand and is not heard of until its lease is over."""
    await _take(plane, node)
    plane.clock.advance(60)
    await plane.settle()


async def test_the_same_process_that_comes_back_was_not_lost(fragile: ControlPlaneUnderTest) -> None:
    plane = fragile
    await plane.register("node1", "node2")
    await plane.migrate()
    node = await plane.connect("node2", 1)
    for _ in range(3 * LOSSES_MAX):
        await _silent(plane, node)
        await node.open()
    assert (await plane.job()).status == "running"
    await node.poll(results=[node.result(await _take(plane, node))])
    assert (await plane.job()).status == "succeeded"


async def test_a_process_that_fell_silent_is_lost_when_another_comes(fragile: ControlPlaneUnderTest) -> None:
    plane = fragile
    await plane.register("node1", "node2")
    await plane.migrate()
    for boot in range(1, LOSSES_MAX + 1):
        assert (await plane.job()).status == "running"
        await _silent(plane, await plane.connect("node2", boot))
    node = await plane.connect("node2", LOSSES_MAX + 1)
    plane.clock.advance(3600)
    await plane.settle()
    await node.open()
    assert not (await node.poll()).tasks
    job = await plane.job()
    assert job.error is not None
    assert (job.status, job.error.code) == ("failed", "poison")


async def test_an_object_that_settles_shows_that_the_node_survives(fragile: ControlPlaneUnderTest) -> None:
    plane = fragile
    await plane.register("node1", "node2")
    await plane.submit("migrate", object_ids=["a", "b"])
    node = await plane.connect("node2", 1)
    for boot in range(2, LOSSES_MAX + 1):
        await _take(plane, node)
        node = await plane.connect("node2", boot)
    task = await _take(plane, node)
    half = [
        {"row": 1, "outcome": "verified", "size": 1},
        {"row": 2, "outcome": "failed", "error": _TRANSIENT},
    ]
    await node.poll(results=[node.result(task, "failed", objects=half, error=_TRANSIENT)])
    await _take(plane, node)
    await plane.connect("node2", 99)
    assert (await plane.job()).status == "running"


async def test_a_restart_of_the_control_plane_loses_nobody(fragile: ControlPlaneUnderTest) -> None:
    plane = fragile
    await plane.register("node1", "node2")
    await plane.migrate()
    node = await plane.connect("node2")
    task = await _take(plane, node)
    for _ in range(LOSSES_MAX + 1):
        plane.clock.advance(3600)
        await plane.parts.scheduler.start_anew()
        await plane.settle()
        await node.poll(running=[node.progress(task)])
    await node.poll(results=[node.result(task)])
    job = await plane.job()
    assert (job.status, job.attempts) == ("succeeded", 1)


async def _take(plane: ControlPlaneUnderTest, node: FakeNode) -> Any:
    """The one task, once its backoff is over; the node stays connected meanwhile."""
    for _ in range(200):
        reply = await node.poll()
        if reply.tasks:
            return reply.tasks[0]
        plane.clock.advance(10)
        await plane.settle()
    raise AssertionError("there is no task to take")


_TRANSIENT = {"class": "transient", "code": "broken-peer", "message": "it broke off"}
