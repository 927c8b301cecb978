"""Two replicas over one Postgres database, with a clock that the test owns; and the one that an SQLite file has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from replicator.control_plane.domain.duty import Group
from replicator.runtime.clock import SystemClock
from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode, ManualClock, control_plane_in
from replicator.wire.replicas import ReplicasView

pytestmark = pytest.mark.anyio

LEASE_S = 5
DEADLINE_S = 20
IN_UNITS = {"plan", "sweep", "prune"}


class Pair(NamedTuple):
    first: ControlPlaneUnderTest
    second: ControlPlaneUnderTest
    clock: ManualClock


@pytest.fixture
async def pair(data_dir: str, database_url: str, anyio_backend: str) -> AsyncIterator[Pair]:
    clock = ManualClock()
    async with (
        control_plane_in(
            data_dir, database_url=database_url, clock=clock, duty_lease_seconds=LEASE_S
        ) as first,
        control_plane_in(
            data_dir, database_url=database_url, clock=clock, duty_lease_seconds=LEASE_S
        ) as second,
    ):
        await first.settle()
        await second.settle()
        yield Pair(first, second, clock)


async def view(plane: ControlPlaneUnderTest) -> ReplicasView:
    return ReplicasView.model_validate((await plane.http.get("/replicas")).raise_for_status().json())


async def terms(plane: ControlPlaneUnderTest) -> dict[str, tuple[str | None, int]]:
    """Holder and term of each duty, as `plane` sees them."""
    return {duty.name: (duty.holder, duty.term) for duty in (await view(plane)).duties}


def name(plane: ControlPlaneUnderTest) -> str:
    return plane.parts.scheduler.replica


async def test_one_replica_does_the_duties_while_its_lease_lasts(pair: Pair) -> None:
    for _ in range(10):
        pair.clock.advance(1)
        await pair.first.settle()
        await pair.second.settle()
    assert await terms(pair.second) == {duty: (name(pair.first), 1) for duty in IN_UNITS}
    assert {replica.name for replica in (await view(pair.second)).replicas} >= {name(pair.first)}


async def test_another_takes_over_once_the_lease_has_run_out(pair: Pair) -> None:
    pair.clock.advance(LEASE_S - 0.001)
    await pair.second.settle()
    assert await terms(pair.second) == {duty: (name(pair.first), 1) for duty in IN_UNITS}
    pair.clock.advance(0.001)
    await pair.second.settle()
    assert await terms(pair.second) == {duty: (name(pair.second), 2) for duty in IN_UNITS}


async def test_a_replica_that_was_stopped_past_its_lease_changes_nothing(pair: Pair) -> None:
    """It has looked, found that there is something to expire, and was stopped before its unit."""
    await pair.second.connect("node1")
    pair.clock.advance(16)
    await pair.second.settle()
    lead = pair.first.parts.scheduler.leadership
    before = await terms(pair.second)
    held = await pair.first.parts.database.transact(lambda unit: lead.hold(unit, Group.SWEEP))
    await pair.first.settle()
    assert held is None
    assert await terms(pair.first) == before
    assert (await pair.first.node("node1")).status == "connected"


async def test_a_stale_look_is_not_acted_upon(pair: Pair) -> None:
    """The second replica becomes the holder between the first one's look and its unit."""
    await pair.first.connect("node1")
    pair.clock.advance(LEASE_S - 1)
    database, scheduler = pair.first.parts.database, pair.second.parts.scheduler
    pair.clock.advance(1)
    taken = await database.transact(lambda unit: scheduler.leadership.hold(unit, Group.SWEEP))
    await pair.first.settle()
    assert taken is not None
    assert (await terms(pair.first))["sweep"] == (name(pair.second), 2)


async def test_nodes_get_a_lease_anew_from_who_begins_to_sweep_and_no_more_than_one(pair: Pair) -> None:
    await pair.first.connect("node1")
    pair.clock.advance(20)
    await pair.second.settle()
    assert (await pair.second.node("node1")).status == "connected"
    for _ in range(16):
        pair.clock.advance(1)
        await pair.second.settle()
    assert (await pair.second.node("node1")).status == "disconnected"


async def test_what_is_given_back_is_taken_at_once(pair: Pair) -> None:
    await pair.first.parts.scheduler.release()
    assert {holder for holder, _ in (await terms(pair.second)).values()} == {None}
    await pair.second.settle()
    assert await terms(pair.second) == {duty: (name(pair.second), 2) for duty in IN_UNITS}
    metrics = (await pair.second.http.get("/metrics")).text
    assert 'replicator_duty_holder{duty="sweep"} 1.0' in metrics
    assert 'replicator_duty_terms_total{duty="sweep"} 1.0' in metrics
    assert 'replicator_duty_holder{duty="sweep"} 0.0' in (await pair.first.http.get("/metrics")).text


async def test_a_node_whose_polls_go_to_replicas_in_turn_is_told_once_to_stop(pair: Pair) -> None:
    await pair.first.register("node1", "node2")
    node = await pair.first.connect("node2")
    await pair.first.migrate()
    running = [node.progress(await node.claim())]
    await pair.second.http.post("/jobs/1/cancel")
    assert len((await node.poll(wait_seconds=30, running=running)).cancel) == 1
    elsewhere = moved(node, pair.second)
    again = asyncio.create_task(elsewhere.poll(wait_seconds=30, running=running))
    await awaited(pair.second, "node2")
    pair.second.parts.wakeups.close()
    async with asyncio.timeout(DEADLINE_S):
        assert len((await again).cancel) == 1


async def test_a_limit_that_was_taken_back_elsewhere_is_told_at_once(pair: Pair) -> None:
    node = await pair.first.connect("node2")
    limit = {"ingress_bytes_per_second": 100_000}
    await pair.first.http.put("/nodes/node2/limits", json=limit)
    assert (await node.poll(wait_seconds=30)).limits.ingress_bytes_per_s == 100_000
    elsewhere = moved(node, pair.second)
    await pair.second.http.delete("/nodes/node2/limits")
    assert (await elsewhere.poll(wait_seconds=30)).limits.ingress_bytes_per_s is None
    await pair.second.http.put("/nodes/node2/limits", json=limit)
    node.heard = elsewhere.heard
    async with asyncio.timeout(DEADLINE_S):
        assert (await node.poll(wait_seconds=30)).limits.ingress_bytes_per_s == 100_000


async def test_a_poll_is_woken_by_what_happens_at_another_replica(data_dir: str, database_url: str) -> None:
    patient: dict[str, Any] = {"poll_seconds": 30, "session_lease_seconds": 3600}
    async with (
        control_plane_in(data_dir, database_url=database_url, clock=SystemClock(), **patient) as first,
        control_plane_in(data_dir, database_url=database_url, clock=SystemClock(), **patient) as second,
    ):
        await first.register("node1", "node2")
        node = await second.connect("node2")
        following = asyncio.create_task(second.parts.database.follow_wakes(second.parts.wakeups.wake_all))
        polling = asyncio.create_task(node.poll(wait_seconds=30))
        await awaited(second, "node2")
        await first.migrate()
        async with asyncio.timeout(DEADLINE_S):
            assert [task.items[0].object_id for task in (await polling).tasks] == ["demo.bin"]
        following.cancel()


async def test_the_next_process_of_a_file_takes_everything_over_at_its_start(data_dir: str) -> None:
    clock = ManualClock()
    async with control_plane_in(data_dir, clock=clock) as plane:
        before = await terms(plane)
    async with control_plane_in(data_dir, clock=clock) as plane:
        assert await terms(plane) == {duty: (name(plane), 2) for duty in before}


async def test_a_process_that_is_about_to_end_is_not_ready(data_dir: str) -> None:
    async with control_plane_in(data_dir) as plane:
        assert (await plane.http.get("/ready")).status_code == 200
        plane.parts.wakeups.close()
        assert (await plane.http.get("/ready")).status_code == 503


def moved(node: FakeNode, plane: ControlPlaneUnderTest) -> FakeNode:
    """The same process, whose next poll goes to `plane`."""
    same = FakeNode(plane.http, node.name)
    same.boot_id, same.session_id, same.heard = node.boot_id, node.session_id, node.heard
    return same


async def awaited(plane: ControlPlaneUnderTest, topic: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not plane.parts.wakeups.is_awaited(topic):
            await asyncio.sleep(0.001)
