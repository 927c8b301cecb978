"""Jobs as users ask for them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from replicator.testing.control_plane import ControlPlaneUnderTest, control_plane_in

pytestmark = pytest.mark.anyio

MIGRATE = {"src_node": "node1", "dst_node": "node2", "object_id": "demo.bin"}


def problem(response: httpx.Response, status: int, code: str) -> str:
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["content-type"] == "application/problem+json"
    detail: str = response.json()["detail"]
    return detail


async def test_jobs_are_numbered_from_one_and_wait_for_their_nodes(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    response = await plane.http.post("/jobs/migrate", json=MIGRATE)
    assert response.status_code == 201
    assert response.headers["location"] == "/jobs/1"
    job = response.json()
    assert (job["id"], job["kind"], job["status"], job["attempts"]) == (1, "migrate", "queued", 0)
    assert job["created_at"].endswith("Z")
    assert await plane.migrate("other.bin") == 2
    assert (await plane.job(1)).waiting_for == "node2 to connect"


async def test_a_job_for_an_unknown_node_is_not_found(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1")
    for wrong in ({}, {"src_node": "node9", "dst_node": "node1"}):
        detail = problem(await plane.http.post("/jobs/migrate", json=MIGRATE | wrong), 404, "not-found")
        assert "register" in detail


async def test_source_and_destination_must_differ(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1")
    response = await plane.http.post("/jobs/migrate", json=MIGRATE | {"dst_node": "node1"})
    assert "same node" in problem(response, 400, "invalid-request")


@pytest.mark.parametrize(
    "wrong",
    [
        {"object_id": "a/../b"},
        {"object_id": ""},
        {"object_id": "x" * 1025},
        {"object_id": "a\x00b"},
        {"src_node": "-node"},
        {"src_node": 5},
        {"unknown": 1},
    ],
)
async def test_a_request_that_can_never_work_is_refused(
    plane: ControlPlaneUnderTest, wrong: dict[str, Any]
) -> None:
    response = await plane.http.post("/jobs/migrate", json=MIGRATE | wrong)
    problem(response, 422, "invalid-request")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 422, "invalid-request"),
        (b'{"\\ud800": 1}', 422, "invalid-request"),
        (b"[]", 422, "invalid-request"),
        (b"", 422, "invalid-request"),
        (b"\xff", 400, "bad-request"),
    ],
)
async def test_a_body_that_is_no_request_is_refused(
    plane: ControlPlaneUnderTest, body: bytes, status: int, code: str
) -> None:
    headers = {"Content-Type": "application/json"}
    response = await plane.http.post("/jobs/migrate", content=body, headers=headers)
    problem(response, status, code)


async def test_a_key_gives_the_same_job_for_the_same_request_only(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    key = {"Idempotency-Key": "key-1"}
    first = await plane.http.post("/jobs/migrate", json=MIGRATE, headers=key)
    again = await plane.http.post("/jobs/migrate", json=MIGRATE, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    other = await plane.http.post("/jobs/migrate", json=MIGRATE | {"object_id": "x"}, headers=key)
    assert "job 1" in problem(other, 409, "conflict")
    without = await plane.http.post("/jobs/migrate", json=MIGRATE)
    assert without.json()["id"] == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "a b"])
async def test_a_key_that_cannot_be_kept_is_refused(plane: ControlPlaneUnderTest, key: str) -> None:
    response = await plane.http.post("/jobs/migrate", json=MIGRATE, headers={"Idempotency-Key": key})
    problem(response, 422, "invalid-request")


async def test_a_list_is_paged_newest_first(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    for number in range(5):
        await plane.migrate(f"object-{number}")
    seen: list[int] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = (await plane.http.get("/jobs", params=params)).json()
        seen += [job["id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
        await plane.migrate("newer")
    assert seen == [5, 4, 3, 2, 1]


async def test_a_list_can_be_of_one_state(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    for number in range(3):
        await plane.migrate(f"object-{number}")
    await plane.http.post("/jobs/2/cancel")
    page = (await plane.http.get("/jobs", params={"status": "cancelled"})).json()
    assert [job["id"] for job in page["jobs"]] == [2]
    problem(await plane.http.get("/jobs", params={"status": "done"}), 422, "invalid-request")


async def test_a_page_is_bounded(data_dir: str) -> None:
    async with control_plane_in(data_dir, page_items_max=2) as plane:
        await plane.register("node1", "node2", "node3")
        for number in range(3):
            await plane.migrate(f"object-{number}")
        assert len((await plane.http.get("/jobs", params={"limit": 10_000})).json()["jobs"]) == 2
        assert len((await plane.http.get("/nodes", params={"limit": 10**30})).json()["nodes"]) == 2
        problem(await plane.http.get("/jobs", params={"limit": 0}), 422, "invalid-request")


@pytest.mark.parametrize("cursor", ["", "x", "====", "é", "MWo6eA", "MW46bm9kZTE", "MWo6MA", "A" * 300])
async def test_a_cursor_that_no_list_has_given_is_refused(plane: ControlPlaneUnderTest, cursor: str) -> None:
    problem(await plane.http.get("/jobs", params={"cursor": cursor}), 400, "invalid-request")


@pytest.mark.parametrize(
    ("job_id", "status"),
    [("1", 404), ("0", 422), ("-1", 422), ("x", 422), (str(2**63 - 1), 404), (str(2**63), 422)],
)
async def test_a_job_that_is_not_there(plane: ControlPlaneUnderTest, job_id: str, status: int) -> None:
    for response in (
        await plane.http.get(f"/jobs/{job_id}"),
        await plane.http.post(f"/jobs/{job_id}/cancel"),
    ):
        problem(response, status, "not-found" if status == 404 else "invalid-request")


async def test_a_waiting_job_is_cancelled_at_once_and_once(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await plane.http.post("/jobs/migrate", json=MIGRATE)
    await plane.migrate()
    for job_id in (1, 2):
        first = (await plane.http.post(f"/jobs/{job_id}/cancel")).json()
        assert first["status"] == "cancelled"
        assert first["finished_at"] is not None
        assert (await plane.http.post(f"/jobs/{job_id}/cancel")).json() == first
    node = await plane.connect("node2")
    assert (await node.poll()).tasks == []


async def test_a_job_is_cancelled_before_it_was_planned(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await plane.http.post("/jobs/migrate", json=MIGRATE)
    assert (await plane.http.post("/jobs/1/cancel")).json()["status"] == "cancelled"
    await plane.settle()
    assert (await plane.job()).progress.objects_planned == 0


async def test_a_running_job_is_cancelled_once_its_node_has_stopped(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.migrate()
    task = await node.claim()
    job = (await plane.http.post("/jobs/1/cancel")).json()
    assert (job["status"], job["waiting_for"]) == ("cancelling", "node2 to stop")
    assert (await plane.http.post("/jobs/1/cancel")).json() == job
    reply = await node.poll(running=[node.progress(task)])
    assert [(ref.task_id, ref.epoch) for ref in reply.cancel] == [(task.task_id, task.epoch)]
    await node.poll(results=[node.result(task, "cancelled", transfer={"bytes_transferred": 5})])
    done = await plane.job()
    assert (done.status, done.error) == ("cancelled", None)
    assert (done.progress.objects_planned, done.progress.bytes_logical) == (0, 5)


async def test_an_object_that_arrived_before_the_cancel_is_counted(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.migrate()
    task = await node.claim()
    await plane.http.post("/jobs/1/cancel")
    transfer = {"objects_skipped": 1, "bytes_logical": 9, "bytes_deduplicated": 9}
    await node.poll(results=[node.result(task, transfer=transfer)])
    job = await plane.job()
    assert job.status == "cancelled"
    assert (job.progress.objects_planned, job.progress.objects_skipped) == (1, 1)
    assert (job.progress.bytes_logical, job.progress.bytes_deduplicated) == (9, 9)


async def test_a_cancelled_task_that_its_node_never_took_ends(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.migrate()
    await node.claim()
    await plane.http.post("/jobs/1/cancel")
    await node.poll()
    assert (await plane.job()).status == "cancelled"


@pytest.mark.parametrize("returns", [True, False])
async def test_a_job_is_cancelled_though_its_node_has_died(
    plane: ControlPlaneUnderTest, returns: bool
) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.migrate()
    await node.claim()
    await plane.http.post("/jobs/1/cancel")
    if returns:
        await plane.connect("node2", boot=2)
    else:
        plane.clock.advance(15)
        await plane.settle()
    assert (await plane.job()).status == "cancelled"


async def test_a_job_that_has_ended_cannot_be_cancelled(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.migrate()
    await node.poll(results=[node.result(await node.claim())])
    response = await plane.http.post("/jobs/1/cancel")
    assert "already succeeded" in problem(response, 409, "conflict")
    assert response.json()["job_status"] == "succeeded"


async def test_an_object_that_was_there_moves_no_byte(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.migrate()
    task = await node.claim()
    transfer = {"objects_planned": 1, "objects_skipped": 1, "bytes_logical": 70, "bytes_deduplicated": 70}
    await node.poll(results=[node.result(task, transfer=transfer)])
    progress = (await plane.job()).progress
    assert (progress.objects_skipped, progress.objects_verified) == (1, 0)
    assert (progress.bytes_logical, progress.bytes_transferred, progress.bytes_deduplicated) == (70, 0, 70)


async def test_unknown_paths_and_methods_are_problems(plane: ControlPlaneUnderTest) -> None:
    problem(await plane.http.get("/nothing"), 404, "not-found")
    problem(await plane.http.put("/jobs"), 405, "method-not-allowed")


async def test_a_body_is_bounded(plane: ControlPlaneUnderTest) -> None:
    response = await plane.http.post("/jobs/migrate", content=b" " * (1024 * 1024 + 1))
    problem(response, 413, "too-large")


async def test_it_says_that_it_is_up_ready_and_how_it_does(plane: ControlPlaneUnderTest) -> None:
    assert (await plane.http.get("/health")).json() == {"status": "ok"}
    assert (await plane.http.get("/ready")).json() == {"status": "ready", "schema_revision": "0003"}
    await plane.register("node1", "node2")
    await plane.connect("node2")
    await plane.migrate()
    text = (await plane.http.get("/metrics")).text
    assert 'replicator_jobs{state="running"} 1.0' in text
    assert 'replicator_tasks{state="ready"} 1.0' in text
    assert 'replicator_nodes{status="connected"} 1.0' in text
    openmetrics = await plane.http.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert openmetrics.text.endswith("# EOF\n")


async def test_it_is_not_ready_without_its_database(plane: ControlPlaneUnderTest) -> None:
    plane.parts.close()
    response = await plane.http.get("/ready")
    problem(response, 503, "unavailable")
    assert (await plane.http.get("/health")).status_code == 200
