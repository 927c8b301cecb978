"""Bandwidth limits of nodes and links: set, shown, listed, taken away."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from replicator.testing.control_plane import ControlPlaneUnderTest

pytestmark = pytest.mark.anyio

NONE = dict.fromkeys(["ingress_bytes_per_second", "egress_bytes_per_second", "tasks_max", "serves_max"])


def problem(response: httpx.Response, status: int) -> str:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    detail: str = response.json()["detail"]
    return detail


async def test_a_node_is_limited_and_shows_it(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1")
    assert (await plane.http.get("/nodes/node1/limits")).json() == NONE
    wanted = NONE | {"egress_bytes_per_second": 50_000_000}
    assert (await plane.http.put("/nodes/node1/limits", json=wanted)).json() == wanted
    assert (await plane.http.get("/nodes/node1/limits")).json() == wanted
    assert (await plane.node("node1")).limits.model_dump() == wanted
    page = (await plane.http.get("/nodes")).json()
    assert page["nodes"][0]["limits"] == wanted

    assert (await plane.http.delete("/nodes/node1/limits")).status_code == 204
    assert (await plane.http.get("/nodes/node1/limits")).json() == NONE


async def test_links_are_limited_listed_in_order_and_set_free(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2", "node3")
    for number, link in enumerate(["node2/node1", "node1/node3", "node1/node2"], start=1):
        answer = await plane.http.put(f"/links/{link}", json={"bytes_per_second": 65536 * number})
        assert answer.status_code == 200, answer.text
    seen, params = [], {"limit": "2"}
    while True:
        page = (await plane.http.get("/links", params=params)).json()
        seen += [(each["src_node"], each["dst_node"], each["bytes_per_second"]) for each in page["links"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == [("node1", "node2", 196_608), ("node1", "node3", 131_072), ("node2", "node1", 65_536)]

    assert (await plane.http.get("/links/node1/node2")).json()["bytes_per_second"] == 196_608
    assert (await plane.http.delete("/links/node1/node2")).status_code == 204
    assert "no limit" in problem(await plane.http.get("/links/node1/node2"), 404)
    problem(await plane.http.delete("/links/node1/node2"), 404)


async def test_nodes_hear_of_their_limits_in_the_next_poll(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.http.put("/nodes/node2/limits", json={"ingress_bytes_per_second": 50000})
    await plane.http.put("/links/node1/node2", json={"bytes_per_second": 40000})
    limits = (await node.poll()).limits
    assert (limits.ingress_bytes_per_s, limits.egress_bytes_per_s) == (50000, None)
    assert limits.links == {"node1": 40000}
    await plane.http.delete("/nodes/node2/limits")
    await plane.http.delete("/links/node1/node2")
    assert (await node.poll()).limits.model_dump(exclude_defaults=True) == {}


async def test_limits_of_nodes_that_are_not_there(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1")
    for method, path, body in [
        ("GET", "/nodes/node9/limits", None),
        ("PUT", "/nodes/node9/limits", NONE),
        ("DELETE", "/nodes/node9/limits", None),
        ("PUT", "/links/node1/node9", {"bytes_per_second": 65536}),
        ("PUT", "/links/node9/node1", {"bytes_per_second": 65536}),
        ("GET", "/links/node1/node9", None),
    ]:
        assert "node9" in problem(await plane.http.request(method, path, json=body), 404)


async def test_a_node_has_no_link_to_itself(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1")
    answer = await plane.http.put("/links/node1/node1", json={"bytes_per_second": 65536})
    assert "twice" in problem(answer, 400)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/nodes/node1/limits", {"ingress_bytes_per_second": 0}),
        ("/nodes/node1/limits", {"egress_bytes_per_second": -1}),
        ("/nodes/node1/limits", {"speed": 50000}),
        ("/links/node1/node2", {"bytes_per_second": 1}),
        ("/links/node1/node2", {"bytes_per_second": None}),
        ("/links/node1/-", {"bytes_per_second": 50000}),
    ],
)
async def test_a_limit_that_can_never_work_is_refused(
    plane: ControlPlaneUnderTest, path: str, body: dict[str, Any]
) -> None:
    await plane.register("node1", "node2")
    problem(await plane.http.put(path, json=body), 422)


async def test_a_cursor_of_another_list_is_refused(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    cursor = (await plane.http.get("/nodes", params={"limit": 1})).json()["next_cursor"]
    problem(await plane.http.get("/links", params={"cursor": cursor}), 400)
