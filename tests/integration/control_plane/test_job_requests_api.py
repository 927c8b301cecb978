"""What can be asked for, in which words, and what is refused with the words to use instead."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from replicator.control_plane.api.app import BODY_BYTES_MAX, SESSION_BODY_BYTES_MAX
from replicator.testing.control_plane import ControlPlaneUnderTest

pytestmark = pytest.mark.anyio

NODES = {"src_node": "node1", "dst_node": "node2"}


def problem(response: httpx.Response, status: int, code: str = "invalid-request") -> str:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    detail: str = response.json()["detail"]
    return detail


async def submit(plane: ControlPlaneUnderTest, kind: str, key: str = "", **wanted: Any) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await plane.http.post(f"/jobs/{kind}", json=NODES | wanted, headers=headers)


@pytest.mark.parametrize(
    ("wanted", "selection"),
    [
        ({"object_id": "a/b.bin"}, "a/b.bin"),
        ({"object_id": "a", "bucket": "media"}, "a in bucket media"),
        ({"object_ids": ["a", "b"]}, "a, b"),
        ({"prefix": "photos/"}, "photos/**"),
        ({"prefix": "", "bucket": "media"}, "** in bucket media"),
        ({"bucket": "media"}, "** in bucket media"),
        ({"all": True}, "every object"),
        ({"prefix": "", "filter": {"include": ["*.jpg"]}, "versions": "all"}, "**, all versions, filtered"),
    ],
)
async def test_a_migration_says_in_words_what_it_is_about(
    plane: ControlPlaneUnderTest, wanted: dict[str, Any], selection: str
) -> None:
    await plane.register("node1", "node2")
    job = (await submit(plane, "migrate", **wanted)).raise_for_status().json()
    assert (job["kind"], job["selection"], job["mode"]) == ("migrate", selection, "copy")
    assert job["object_id"] == wanted.get("object_id")


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"object_id": "a", "object_ids": ["b"]},
        {"object_id": "a", "prefix": "b"},
        {"prefix": "b", "all": True},
        {"bucket": "media", "all": True},
    ],
)
async def test_none_or_several_selections_are_refused_with_what_to_name(
    plane: ControlPlaneUnderTest, wanted: dict[str, Any]
) -> None:
    await plane.register("node1", "node2")
    detail = problem(await submit(plane, "migrate", **wanted), 400)
    assert all(name in detail for name in ("object_id", "object_ids", "prefix", "bucket", "all"))
    assert (await plane.http.get("/jobs")).json()["jobs"] == []


@pytest.mark.parametrize("kind", ["mirror", "verify"])
async def test_a_mirror_and_a_verification_are_jobs_with_keys_of_their_own(
    plane: ControlPlaneUnderTest, kind: str
) -> None:
    await plane.register("node1", "node2")
    first = await submit(plane, kind, key="k", prefix="photos/", bucket="media")
    assert first.status_code == 201
    assert first.headers["location"] == "/jobs/1"
    assert (first.json()["kind"], first.json()["selection"]) == (kind, "photos/** in bucket media")
    again = await submit(plane, kind, key="k", prefix="photos/", bucket="media")
    assert (again.status_code, again.json()["id"]) == (200, 1)
    problem(await submit(plane, kind, key="k", prefix="other/"), 409, "conflict")
    problem(await submit(plane, "migrate", key="k", prefix="photos/", bucket="media"), 409, "conflict")


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("migrate", {"object_ids": []}),
        ("migrate", {"object_ids": ["a"] * 1001}),
        ("migrate", {"prefix": "x" * 1025}),
        ("migrate", {"prefix": "", "priority": 10}),
        ("migrate", {"prefix": "", "bytes_per_second": 1}),
        ("migrate", {"prefix": "", "mode": "steal"}),
        ("migrate", {"prefix": "", "filter": {"include": ["["]}}),
        ("mirror", {"bucket": None}),
        ("mirror", {"max_deletes": -1}),
        ("mirror", {"object_id": "a"}),
        ("verify", {"bytes_per_second": 50000}),
        ("verify", {"dst_node": "-"}),
    ],
)
async def test_a_request_that_can_never_work_is_refused(
    plane: ControlPlaneUnderTest, kind: str, wrong: dict[str, Any]
) -> None:
    await plane.register("node1", "node2")
    problem(await submit(plane, kind, **wrong), 422)


@pytest.mark.parametrize("kind", ["mirror", "verify"])
async def test_two_different_nodes_that_are_known_are_needed(plane: ControlPlaneUnderTest, kind: str) -> None:
    await plane.register("node1")
    assert "register" in problem(await submit(plane, kind), 404, "not-found")
    assert "same node" in problem(await submit(plane, kind, dst_node="node1"), 400)


async def test_what_a_change_does_not_name_stays(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await submit(plane, "migrate", object_id="a", priority=2, bytes_per_second=50000)

    async def change(**fields: Any) -> tuple[int, int | None]:
        job = (await plane.http.patch("/jobs/1", json=fields)).raise_for_status().json()
        return job["priority"], job["bytes_per_second"]

    assert await change() == (2, 50000)
    assert await change(priority=-3) == (-3, 50000)
    assert await change(bytes_per_second=None) == (-3, None)
    assert await change(bytes_per_second=90000, priority=0) == (0, 90000)
    for wrong in ({"priority": 10}, {"bytes_per_second": 0}, {"status": "succeeded"}, {"priority": "high"}):
        problem(await plane.http.patch("/jobs/1", json=wrong), 422)


async def test_a_job_is_paused_resumed_and_not_retried_while_it_lives(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await plane.migrate()
    for _ in range(2):
        assert (await plane.http.post("/jobs/1/pause")).json()["status"] == "paused"
    for _ in range(2):
        assert (await plane.http.post("/jobs/1/resume")).json()["status"] == "running"
    problem(await plane.http.post("/jobs/1/retry"), 409, "conflict")
    await plane.http.post("/jobs/1/cancel")
    for command in ("pause", "resume", "retry"):
        problem(await plane.http.post(f"/jobs/1/{command}"), 409, "conflict")
    problem(await plane.http.patch("/jobs/1", json={"priority": 1}), 409, "conflict")


@pytest.mark.parametrize("command", ["pause", "resume", "retry", "cancel"])
async def test_a_command_to_a_job_that_is_not_there(plane: ControlPlaneUnderTest, command: str) -> None:
    problem(await plane.http.post(f"/jobs/1/{command}"), 404, "not-found")
    problem(await plane.http.post(f"/jobs/0/{command}"), 422)


async def test_results_of_nodes_may_be_longer_than_requests_of_users(plane: ControlPlaneUnderTest) -> None:
    long = b" " * (BODY_BYTES_MAX + 1)
    problem(await plane.http.post("/jobs/mirror", content=long), 413, "too-large")
    problem(await plane.http.post("/sessions", content=long), 422)
    problem(await plane.http.post("/sessions/x/poll", content=long), 422)
    too_long = b" " * (SESSION_BODY_BYTES_MAX + 1)
    problem(await plane.http.post("/sessions/x/poll", content=too_long), 413, "too-large")
