"""Nodes have labels, a zone, room on their disks, and times of maintenance."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode

pytestmark = pytest.mark.anyio


async def change(plane: ControlPlaneUnderTest, name: str, **changes: Any) -> dict[str, Any]:
    response = await plane.http.patch(f"/nodes/{name}", json=changes)
    answer: dict[str, Any] = response.raise_for_status().json()
    return answer


async def opened(plane: ControlPlaneUnderTest, name: str, **told: Any) -> FakeNode:
    """A session of a process that says `told` of itself."""
    node = FakeNode(plane.http, name)
    message = {"node": name, "boot_id": node.boot_id, "base_url": f"http://{name}:9000", "release": "0.1.0"}
    response = await plane.http.post("/sessions", json=message | told)
    node.session_id = response.raise_for_status().json()["session_id"]
    return node


async def names(plane: ControlPlaneUnderTest, **params: Any) -> list[str]:
    """Of all nodes that a list shows, through all its pages."""
    found: list[str] = []
    while True:
        response = await plane.http.get("/nodes", params=params)
        page = response.raise_for_status().json()
        found += [node["name"] for node in page["nodes"]]
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


async def test_what_is_not_named_in_a_change_stays(plane: ControlPlaneUnderTest) -> None:
    message = {"name": "node1", "base_url": "http://node1:9001", "labels": {"disk": "ssd"}, "zone": "eu-1"}
    node = (await plane.http.post("/nodes/register", json=message)).json()
    assert (node["labels"], node["zone"], node["maintenance"]) == ({"disk": "ssd"}, "eu-1", False)
    node = await change(plane, "node1", labels={"rack": "r7"}, maintenance=True)
    assert (node["labels"], node["zone"], node["maintenance"]) == (
        {"disk": "ssd", "rack": "r7"},
        "eu-1",
        True,
    )
    node = await change(plane, "node1", labels={"disk": None})
    assert (node["labels"], node["maintenance"]) == ({"rack": "r7"}, True)
    await plane.register("node1")
    again = await plane.node("node1")
    assert (again.labels, again.zone, again.maintenance) == ({"rack": "r7"}, "eu-1", True)


async def test_what_an_operator_says_wins_over_what_the_node_says_of_itself(
    plane: ControlPlaneUnderTest,
) -> None:
    await opened(plane, "node1", labels={"disk": "hdd"}, zone="here")
    node = await plane.node("node1")
    assert (node.labels, node.zone) == ({"disk": "hdd"}, "here")
    await change(plane, "node1", labels={"disk": "ssd"})
    await opened(plane, "node1", labels={"disk": "hdd"}, zone="there")
    node = await plane.node("node1")
    assert (node.labels, node.zone) == ({"disk": "ssd"}, "there")
    await change(plane, "node1", labels=None, zone="elsewhere")
    await opened(plane, "node1", labels={"disk": "hdd"}, zone="there")
    node = await plane.node("node1")
    assert (node.labels, node.zone) == ({"disk": "hdd"}, "elsewhere")


async def test_a_node_tells_of_its_disk_and_an_older_one_does_not(plane: ControlPlaneUnderTest) -> None:
    node = await opened(plane, "node1", space={"bytes_total": 1000, "bytes_free": 900})
    seen = await plane.node("node1")
    assert (seen.bytes_total, seen.bytes_free) == (1000, 900)
    await node.poll(space={"bytes_total": 1000, "bytes_free": 100})
    await node.poll()
    seen = await plane.node("node1")
    assert (seen.bytes_total, seen.bytes_free) == (1000, 100)
    await plane.connect("node1")
    seen = await plane.node("node1")
    assert (seen.bytes_total, seen.bytes_free) == (1000, 100)


async def test_a_node_shows_its_lease_and_what_it_has_in_hand(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1")
    assert (await plane.node("node1")).lease_expires_at is None
    node = await plane.connect("node2")
    await plane.migrate()
    await node.claim()
    seen = await plane.node("node2")
    assert seen.tasks_in_hand == 1
    assert seen.lease_expires_at is not None
    assert seen.seen_at is not None
    assert (seen.lease_expires_at - seen.seen_at).total_seconds() == 15
    listed = (await plane.http.get("/nodes")).json()["nodes"]
    assert [(each["name"], each["tasks_in_hand"]) for each in listed] == [("node1", 0), ("node2", 1)]


@pytest.mark.parametrize("resting", ["node1", "node2"])
async def test_in_maintenance_nothing_new_is_handed_out_and_what_is_in_hand_goes_on(
    plane: ControlPlaneUnderTest, resting: str
) -> None:
    await plane.register("node1")
    node = await plane.connect("node2")
    await plane.migrate("first.bin")
    task = await node.claim()
    await change(plane, resting, maintenance=True)
    await plane.migrate("second.bin")
    assert (await node.poll(running=[node.progress(task)])).abandon == []
    assert (await node.poll(results=[node.result(task)])).tasks == []
    assert (await plane.job(1)).status == "succeeded"
    assert (await plane.job(2)).waiting_for == f"the end of the maintenance of {resting}"
    await change(plane, resting, maintenance=False)
    assert [each.job_id for each in (await node.poll()).tasks] == [2]


@pytest.mark.parametrize("resting", ["node1", "node2"])
async def test_the_end_of_a_maintenance_wakes_those_that_wait_for_it(
    plane: ControlPlaneUnderTest, resting: str
) -> None:
    await plane.register("node1")
    node = await plane.connect("node2")
    await change(plane, resting, maintenance=True)
    await plane.migrate()
    polling = asyncio.create_task(node.poll(wait_seconds=10))
    while not plane.parts.wakeups.is_awaited("node2"):
        await asyncio.sleep(0)
    await change(plane, resting, maintenance=False)
    assert [task.job_id for task in (await polling).tasks] == [1]


async def test_nodes_are_listed_by_zone_label_and_status(plane: ControlPlaneUnderTest) -> None:
    for number in range(7):
        labels = {"disk": "ssd" if number % 2 else "hdd", "tier": "1"}
        told = {"labels": labels, "zone": f"zone-{number % 3}"}
        message = {"name": f"node{number}", "base_url": f"http://node{number}:9001"}
        (await plane.http.post("/nodes/register", json=message | told)).raise_for_status()
    await plane.connect("node3")
    assert await names(plane, zone="zone-0", limit=1) == ["node0", "node3", "node6"]
    assert await names(plane, label="disk=ssd", limit=2) == ["node1", "node3", "node5"]
    assert await names(plane, label=["disk=ssd", "tier=1"], zone="zone-0") == ["node3"]
    assert await names(plane, status="connected") == ["node3"]
    assert await names(plane, status="disconnected", limit=4, zone="zone-1") == ["node1", "node4"]
    assert await names(plane, label="disk=tape") == []


async def test_a_list_that_passes_over_many_nodes_goes_on_where_it_stopped(
    plane: ControlPlaneUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replicator.control_plane.services.registry._NODES_LOOKED_AT", 2)
    monkeypatch.setattr("replicator.control_plane.services.registry._PAGES_LOOKED_AT", 1)
    await plane.register(*(f"node{number}" for number in range(6)))
    await change(plane, "node5", zone="far")
    first = (await plane.http.get("/nodes", params={"zone": "far", "limit": 1})).json()
    assert first["nodes"] == []
    assert first["next_cursor"] is not None
    assert await names(plane, zone="far", limit=1) == ["node5"]


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("/nodes/node1", {"labels": {"": "x"}}),
        ("/nodes/node1", {"labels": {"a b": "x"}}),
        ("/nodes/node1", {"labels": {"a": "x,y"}}),
        ("/nodes/node1", {"labels": {"a": ""}}),
        ("/nodes/node1", {"labels": {"a": "x" * 64}}),
        ("/nodes/node1", {"labels": {f"key{number}": "x" for number in range(33)}}),
        ("/nodes/node1", {"zone": ""}),
        ("/nodes/node1", {"colour": "red"}),
    ],
)
async def test_a_change_that_can_never_work_is_refused(
    plane: ControlPlaneUnderTest, path: str, changes: dict[str, Any]
) -> None:
    await plane.register("node1")
    assert (await plane.http.patch(path, json=changes)).status_code == 422


async def test_labels_are_bounded_however_many_changes_they_come_in(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1")
    await change(plane, "node1", labels={f"a{number}": "x" for number in range(32)})
    response = await plane.http.patch("/nodes/node1", json={"labels": {"b": "x"}})
    assert response.status_code == 400
    assert "33 labels" in response.json()["detail"]


async def test_changes_of_nodes_that_are_not_there_and_filters_that_are_none(
    plane: ControlPlaneUnderTest,
) -> None:
    assert (await plane.http.patch("/nodes/node9", json={"zone": "x"})).status_code == 404
    assert (await plane.http.get("/nodes", params={"label": "disk"})).status_code == 400
    assert (await plane.http.get("/nodes", params={"status": "asleep"})).status_code == 422


async def test_removal_while_jobs_live_says_what_to_do(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await plane.migrate()
    response = await plane.http.delete("/nodes/node1")
    assert response.status_code == 409
    assert "maintenance" in response.json()["detail"]
