"""Explanations and tasks over HTTP: what a user reads about a job that does not move."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.testing.control_plane import ControlPlaneUnderTest

pytestmark = pytest.mark.anyio


async def explain(plane: ControlPlaneUnderTest, path: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await plane.http.get(f"{path}/explain")).raise_for_status().json()
    return answer


def kinds(explanation: dict[str, Any]) -> list[str]:
    return [finding["kind"] for finding in explanation["findings"]]


async def test_a_job_is_explained_from_its_submission_to_its_end(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    job_id = await plane.migrate()
    waiting = await explain(plane, f"/jobs/{job_id}")
    assert (waiting["subject"], waiting["id"], waiting["state"]) == ("job", "1", "running")
    assert kinds(waiting) == ["node-disconnected"]
    assert "fails at" in waiting["findings"][0]["would_change"]
    node = await plane.connect("node2")
    assert kinds(await explain(plane, "/jobs/1")) == ["ready"]
    task = await node.claim()
    at_work = (await explain(plane, "/jobs/1"))["findings"][0]
    assert (at_work["kind"], at_work["data"]["session_id"]) == ("at-work", node.session_id)
    await node.poll(results=[node.failure(task, "transient")])
    backoff = (await explain(plane, "/tasks/1"))["findings"][0]
    assert (backoff["kind"], backoff["data"]["failures"]) == ("backoff", 1)
    assert backoff["data"]["error"]["code"] == "corrupt"
    plane.clock.advance(10)
    await plane.settle()
    await node.poll(results=[node.failure(await node.claim(), "permanent", "not-found")])
    failed = await explain(plane, "/jobs/1")
    assert (failed["state"], kinds(failed)) == ("failed", ["failed"])
    assert "POST /jobs/1/retry" in failed["findings"][0]["would_change"]
    assert kinds(await explain(plane, "/tasks/1")) == ["failed"]


async def test_the_first_finding_and_what_a_view_waits_for_agree(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await plane.migrate()
    node = await plane.connect("node2")
    await plane.http.put("/links/node1/node2", json={"tasks_max": 1})
    await node.claim()
    await plane.migrate("other.bin")
    explained = await explain(plane, "/jobs/2")
    assert kinds(explained) == ["link-full"]
    words = "a place on the link from node1 to node2: 1 of 1 tasks use it"
    assert (await plane.job(2)).waiting_for == words
    listed = (await plane.http.get("/jobs/2/tasks")).json()["tasks"]
    assert [task["waiting_for"] for task in listed] == [words]


async def test_a_job_to_be_planned_names_who_plans(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1")
    node = await plane.connect("node2")
    await plane.submit("migrate", prefix="a/")
    found = {"finding": "absent", "bucket": "default", "object_id": "a/1", "version": "1" * 32}
    survey = {"cursor": None, "compared": 1, "found": [found | {"manifest": "2" * 64, "size": 7}]}
    await node.poll(results=[node.result(await node.claim(), survey=survey)], capacity=0)
    explained = await explain(plane, "/jobs/1")
    assert kinds(explained) == ["to-be-planned", "planner"]
    assert explained["findings"][1]["data"]["holder"]
    assert (await plane.job(1)).waiting_for == "its turn to be planned"
    await plane.settle()
    assert kinds(await explain(plane, "/jobs/1")) == ["ready"]


async def test_a_node_is_explained(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await plane.migrate()
    assert kinds(await explain(plane, "/nodes/node2")) == [
        "disconnected",
        "join-problem",
        "in-hand",
        "work-ready",
    ]
    await plane.connect("node2")
    await plane.http.patch("/nodes/node2", json={"maintenance": True})
    assert kinds(await explain(plane, "/nodes/node2")) == [
        "connected",
        "maintenance",
        "in-hand",
        "work-ready",
    ]


@pytest.mark.parametrize("path", ["/jobs/9", "/tasks/9", "/nodes/node9"])
async def test_what_is_not_there_cannot_be_explained(plane: ControlPlaneUnderTest, path: str) -> None:
    response = await plane.http.get(f"{path}/explain")
    assert (response.status_code, response.json()["code"]) == (404, "not-found")


async def test_a_task_is_shown_with_its_attempts_the_latest_first(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1")
    node = await plane.connect("node2")
    await plane.migrate()
    await node.poll(results=[node.failure(await node.claim(), "transient")])
    plane.clock.advance(10)
    await plane.settle()
    task = await node.claim()
    shown = (await plane.http.get("/tasks/1")).json()
    assert (shown["status"], shown["attempts"], shown["failures"]) == ("leased", 2, 1)
    assert shown["session_id"] == node.session_id
    assert [(each["attempt"], each["outcome"]) for each in shown["attempts_latest"]] == [
        (2, None),
        (1, "failed"),
    ]
    assert shown["attempts_latest"][1]["error"]["code"] == "corrupt"
    await node.poll(results=[node.result(task, transfer={"bytes_transferred": 5, "bytes_logical": 5})])
    shown = (await plane.http.get("/tasks/1")).json()
    latest = shown["attempts_latest"][0]
    assert (shown["status"], latest["outcome"], latest["transfer"]["bytes_transferred"]) == (
        "succeeded",
        "succeeded",
        5,
    )
    assert (await plane.http.get("/tasks/2")).status_code == 404


async def test_tasks_of_a_job_are_listed_in_pages_and_by_state(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1")
    node = await plane.connect("node2")
    await plane.submit("migrate", object_ids=[f"object-{number}" for number in range(600)])
    await plane.migrate("other.bin")
    claimed = await node.poll(capacity=1)
    seen: list[int] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = (await plane.http.get("/jobs/1/tasks", params=params)).raise_for_status().json()
        seen += [task["id"] for task in page["tasks"]]
        assert {task["job_id"] for task in page["tasks"]} == {1}
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert len(seen) > 2
    assert seen == sorted(set(seen))
    leased = (await plane.http.get("/jobs/1/tasks", params={"status": "leased"})).json()["tasks"]
    assert [task["id"] for task in leased] == [task.task_id for task in claimed.tasks]
    assert (await plane.http.get("/jobs/9/tasks")).status_code == 404
    assert (await plane.http.get("/jobs/1/tasks", params={"status": "asleep"})).status_code == 422
    assert (await plane.http.get("/jobs/1/tasks", params={"cursor": "x"})).status_code == 400
