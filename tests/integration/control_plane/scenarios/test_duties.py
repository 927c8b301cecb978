"""Duties that one replica has at a time: another takes over, and one that was paused changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode, ManualClock, control_plane_in
from replicator.testing.scenarios import Fleet, fleet_in

pytestmark = pytest.mark.anyio

DUTIES = {"plan", "sweep", "join", "prune"}
LEASE: dict[str, Any] = {"duty_lease_seconds": 5}


async def holders(fleet: Fleet) -> list[set[str]]:
    """The duties that each replica says it has."""
    texts = [(await replica.http.get("/metrics")).text for replica in fleet.replicas]
    return [
        {duty for duty in DUTIES if f'replicator_duty_holder{{duty="{duty}"}} 1.0' in text} for text in texts
    ]


def terms(duty: dict[str, Any]) -> tuple[str, str, int]:
    return duty["name"], duty["holder"], duty["term"]


async def test_every_duty_has_one_holder(fleet: Fleet) -> None:
    for replica in fleet.replicas:
        await replica.settle()
        await replica.parts.scheduler.tell_to_join()
    first, *others = await holders(fleet)
    assert (first, [other for other in others if other]) == (DUTIES, [])


async def test_another_replica_takes_over_when_a_leader_falls_silent(
    data_dir: str, database_url: str
) -> None:
    async with fleet_in(data_dir, database_url=database_url, **LEASE) as fleet:
        leader, follower = fleet.replicas
        await leader.settle()
        await leader.register("node1", "node2")
        await leader.connect("node2")
        fleet.clock.advance(4)
        await follower.settle()
        assert (await holders(fleet))[1] == set(), "the lease lasts"
        fleet.clock.advance(2)
        await follower.settle()
        assert "sweep" in (await holders(fleet))[1]
        assert (await follower.node("node2")).status == "connected", "nobody may have listened to it"
        for _ in range(4):
            fleet.clock.advance(4)
            await follower.settle()
        assert (await follower.node("node2")).status == "disconnected"


async def test_a_leader_that_was_paused_past_its_lease_changes_nothing_when_it_wakes(
    data_dir: str, database_url: str
) -> None:
    async with fleet_in(data_dir, database_url=database_url, **LEASE) as fleet:
        paused, successor = fleet.replicas
        await paused.settle()
        await successor.register("node1", "node2")
        node = FakeNode(successor.http, "node2")
        await node.open()
        fleet.clock.advance(6)
        await successor.settle()
        before = (await successor.http.get("/replicas")).json()["duties"]
        for _ in range(3):
            fleet.clock.advance(1)
            await paused.settle()
        after = (await successor.http.get("/replicas")).json()["duties"]
        assert [terms(duty) for duty in after] == [terms(duty) for duty in before]
        assert (await successor.node("node2")).status == "connected"


async def test_work_goes_on_over_a_restart_of_everything(data_dir: str, place: str | None) -> None:
    clock = ManualClock()

    async def begin(plane: ControlPlaneUnderTest) -> FakeNode:
        await plane.register("node1", "node2")
        node = await plane.connect("node2")
        for number in range(6):
            await plane.migrate(f"object-{number}")
        return node

    async with fleet_in(data_dir, database_url=place, clock=clock, **LEASE) as fleet:
        node = await begin(fleet)
        tasks = (await node.poll(capacity=3)).tasks
    clock.advance(3600)
    async with fleet_in(data_dir, database_url=place, clock=clock, **LEASE) as fleet:
        await fleet.settle()
        survivor = FakeNode(fleet.http, "node2")
        survivor.session_id = node.session_id
        reply = await survivor.poll(running=[survivor.progress(task) for task in tasks])
        assert reply.abandon == [], "its lease is good for a while"
        results = [survivor.result(task) for task in [*tasks, *reply.tasks]]
        await survivor.poll(results=results, capacity=0)
        assert {(job.status, job.attempts) for job in await fleet.jobs()} == {("succeeded", 1)}


async def test_a_replica_that_ends_in_order_is_succeeded_at_once(data_dir: str, database_url: str) -> None:
    clock = ManualClock()
    async with control_plane_in(data_dir, clock=clock, database_url=database_url, **LEASE) as first:
        await first.settle()
        await first.parts.scheduler.release()
    async with control_plane_in(data_dir, clock=clock, database_url=database_url, **LEASE) as second:
        await second.settle()
        duties = (await second.http.get("/replicas")).json()["duties"]
        assert {duty["term"] for duty in duties} == {2}
