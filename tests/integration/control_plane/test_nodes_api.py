"""Nodes: registered, shown, removed, told to join."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from replicator.kernel.errors import Conflict
from replicator.testing.control_plane import ControlPlaneUnderTest

pytestmark = pytest.mark.anyio


async def test_a_node_is_registered_and_told_to_join(plane: ControlPlaneUnderTest) -> None:
    plane.joiner.answers["node1"] = None
    response = await plane.http.post(
        "/nodes/register", json={"name": "node1", "base_url": "http://node1:9001/"}
    )
    assert response.status_code == 200
    node = response.json()
    assert (node["base_url"], node["status"], node["problem"]) == ("http://node1:9001", "disconnected", None)
    assert plane.joiner.asked == [("node1", "http://node1:9001")]


async def test_registering_again_is_an_update(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1")
    before = await plane.node("node1")
    plane.clock.advance(60)
    response = await plane.http.post(
        "/nodes/register", json={"name": "node1", "base_url": "http://elsewhere:9001"}
    )
    assert response.status_code == 200
    after = await plane.node("node1")
    assert after.base_url == "http://elsewhere:9001"
    assert after.registered_at == before.registered_at
    assert after.updated_at > before.updated_at


async def test_a_node_that_cannot_be_told_is_registered_with_its_problem(
    plane: ControlPlaneUnderTest,
) -> None:
    await plane.register("node1")
    assert (await plane.node("node1")).problem == "http://node1.example:9000 cannot be reached"
    await plane.connect("node1")
    assert (await plane.node("node1")).problem is None


async def test_a_node_by_another_name_is_a_problem(plane: ControlPlaneUnderTest) -> None:
    plane.joiner.answers["node1"] = Conflict("the node there is called 'node5'", node="node5")
    await plane.connect("node1")
    await plane.register("node1")
    assert (await plane.node("node1")).problem == "the node there is called 'node5'"


async def test_a_connected_node_that_knows_us_by_another_url_is_no_problem(
    plane: ControlPlaneUnderTest,
) -> None:
    plane.joiner.answers["node1"] = Conflict("it joins no other", node="node1")
    await plane.connect("node1")
    await plane.register("node1")
    assert (await plane.node("node1")).problem is None


async def test_a_connected_node_is_not_told_again(plane: ControlPlaneUnderTest) -> None:
    await plane.connect("node1")
    message = {"name": "node1", "base_url": "http://node1:9000"}
    assert (await plane.http.post("/nodes/register", json=message)).json()["status"] == "connected"
    assert plane.joiner.asked == []


async def test_a_node_is_told_again_ever_more_rarely(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1")
    told = []
    for second in range(300):
        before = len(plane.joiner.asked)
        while not await plane.parts.scheduler.tell_to_join():
            pass
        if len(plane.joiner.asked) > before:
            told.append(second)
        plane.clock.advance(1)
    gaps = [later - earlier for earlier, later in pairwise(told)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == 60


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:9001",
        "http://[::1]:9001",
        "http://node_1:9001",
        "http://bücher.example",
        "http://node1.",
    ],
)
async def test_every_host_that_can_be_resolved_is_taken(plane: ControlPlaneUnderTest, base_url: str) -> None:
    response = await plane.http.post("/nodes/register", json={"name": "node1", "base_url": base_url})
    assert response.status_code == 200


async def test_whatever_telling_one_node_runs_into_the_others_are_told(plane: ControlPlaneUnderTest) -> None:
    plane.joiner.answers["node1"] = UnicodeError("no such codepoint")
    plane.joiner.answers["node2"] = None
    await plane.register("node1", "node2")
    assert "no such codepoint" in ((await plane.node("node1")).problem or "")
    assert (await plane.node("node2")).problem is None
    plane.clock.advance(60)
    plane.joiner.asked.clear()
    assert await plane.parts.scheduler.tell_to_join() == 0
    assert sorted(name for name, _ in plane.joiner.asked) == ["node1", "node2"]
    assert "no such codepoint" in ((await plane.node("node1")).problem or "")


async def test_a_node_that_agrees_and_does_not_come_is_a_problem(plane: ControlPlaneUnderTest) -> None:
    plane.joiner.answers["node1"] = None
    await plane.register("node1")
    for _ in range(3):
        plane.clock.advance(10)
        await plane.parts.scheduler.tell_to_join()
    assert "advertised URL" in ((await plane.node("node1")).problem or "")


async def test_a_lost_node_is_told_to_come_back(plane: ControlPlaneUnderTest) -> None:
    await plane.connect("node1")
    plane.clock.advance(15)
    await plane.settle()
    plane.clock.advance(1)
    await plane.parts.scheduler.tell_to_join()
    assert plane.joiner.asked == [("node1", "http://node1:9000")]


async def test_a_node_is_removed_unless_live_jobs_use_it(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await plane.migrate()
    for name in ("node1", "node2"):
        response = await plane.http.delete(f"/nodes/{name}")
        assert response.status_code == 409
        assert response.json()["jobs"] == [1]
    await plane.http.post("/jobs/1/cancel")
    response = await plane.http.delete("/nodes/node1")
    assert (response.status_code, response.content) == (204, b"")
    assert (await plane.http.get("/nodes/node1")).status_code == 404
    assert (await plane.http.delete("/nodes/node1")).status_code == 404
    assert (await plane.job(1)).src_node == "node1"


async def test_a_removed_node_loses_its_session(plane: ControlPlaneUnderTest) -> None:
    node = await plane.connect("node1")
    await plane.http.delete("/nodes/node1")
    assert (await node.poll_raw()).status_code == 410


async def test_nodes_are_listed_by_name(plane: ControlPlaneUnderTest) -> None:
    await plane.register("b", "a", "d", "c")
    await plane.connect("c")
    seen: list[tuple[str, str]] = []
    params: dict[str, Any] = {"limit": 3}
    while params.get("cursor", "") is not None:
        page = (await plane.http.get("/nodes", params=params)).json()
        seen += [(node["name"], node["status"]) for node in page["nodes"]]
        params["cursor"] = page["next_cursor"]
    off = "disconnected"
    assert seen == [("a", off), ("b", off), ("c", "connected"), ("d", off)]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ({"name": "../x", "base_url": "http://node1"}, 422),
        ({"name": "node1", "base_url": "node1:9001"}, 422),
        ({"name": "node1", "base_url": "ftp://node1"}, 422),
        ({"name": "node1"}, 422),
        ({"name": "node1", "base_url": "http://node1/?q=1"}, 400),
        ({"name": "node1", "base_url": "http://me:secret@node1/"}, 400),
        ({"name": "node1", "base_url": "http://xn--ls8h.la/"}, 400),
        ({"name": "node1", "base_url": "http://node1..example/"}, 400),
        ({"name": "node1", "base_url": f"http://{'a' * 64}.example/"}, 400),
    ],
)
async def test_a_registration_that_can_never_work_is_refused(
    plane: ControlPlaneUnderTest, message: dict[str, str], status: int
) -> None:
    response = await plane.http.post("/nodes/register", json=message)
    assert (response.status_code, response.json()["code"]) == (status, "invalid-request")
    assert plane.joiner.asked == []


@pytest.mark.parametrize("cursor", ["MWo6MQ", "MW46", "MW46Li4", "x"])
async def test_a_cursor_that_no_list_has_given_is_refused(plane: ControlPlaneUnderTest, cursor: str) -> None:
    response = await plane.http.get("/nodes", params={"cursor": cursor})
    assert (response.status_code, response.json()["code"]) == (400, "invalid-request")
