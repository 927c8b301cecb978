"""What goes first, what begins later, what must end by then, and what is not tried for ever."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from replicator.testing.scenarios import Fleet, balanced, fleet_in, leased

pytestmark = pytest.mark.anyio


def moment(fleet: Fleet, seconds: float) -> str:
    """So many seconds from now, in database time."""
    return datetime.fromtimestamp(fleet.clock.wall_ms() / 1000 + seconds, UTC).isoformat()


@pytest.mark.parametrize(("waited_s", "first"), [(30, "urgent"), (90, "old")])
async def test_what_has_waited_long_goes_before_what_is_a_little_more_urgent(
    fleet: Fleet, waited_s: float, first: str
) -> None:
    await fleet.register("node1", "node2")
    await fleet.migrate("old")
    fleet.clock.advance(waited_s)
    await fleet.submit("migrate", object_id="urgent", priority=1)
    node = await fleet.connect("node2")
    (task,) = (await node.poll(capacity=1)).tasks
    assert task.items[0].object_id == first


async def test_a_small_job_does_not_wait_for_a_large_one_to_end(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    large = await fleet.submit("migrate", object_ids=[f"object-{number:04}" for number in range(1000)])
    small = await fleet.migrate("small")
    node = await fleet.connect("node2")
    tasks = (await node.poll(capacity=4)).tasks
    assert {task.job_id for task in tasks} == {large, small}


async def test_a_job_begins_when_it_was_told_to(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    node = await fleet.connect("node2")
    job = await fleet.submit("migrate", object_id="later", start_at=moment(fleet, 10))
    assert ((await fleet.job(job)).status, (await node.poll()).tasks) == ("queued", [])
    fleet.clock.advance(9)
    await fleet.settle()
    assert (await node.poll()).tasks == []
    fleet.clock.advance(2)
    await fleet.settle()
    await node.poll(results=[node.result(await node.claim())])
    assert (await fleet.job(job)).status == "succeeded"


async def test_a_job_that_has_not_ended_by_its_deadline_is_cancelled(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    node = await fleet.connect("node2")
    job = await fleet.submit("migrate", object_id="slow", deadline_at=moment(fleet, 10))
    task = await node.claim()
    fleet.clock.advance(11)
    await fleet.settle()
    reply = await node.poll(running=[node.progress(task)])
    assert reply.cancel == [task.ref]
    await node.poll(results=[node.result(task, "cancelled")])
    ended = await fleet.job(job)
    assert ended.status == "cancelled"
    assert ended.error is not None
    assert ended.error.code == "deadline-exceeded"


async def test_a_result_in_time_is_not_undone_by_the_deadline(fleet: Fleet) -> None:
    await fleet.register("node1", "node2")
    node = await fleet.connect("node2")
    job = await fleet.submit("migrate", object_id="quick", deadline_at=moment(fleet, 10))
    await node.poll(results=[node.result(await node.claim())])
    fleet.clock.advance(3600)
    await fleet.settle()
    assert (await fleet.job(job)).status == "succeeded"


async def test_a_task_that_ends_every_node_it_is_given_to_is_given_up(
    data_dir: str, place: str | None
) -> None:
    async with fleet_in(data_dir, database_url=place, losses_max=4) as fleet:
        await fleet.register("node1", "node2")
        job = await fleet.migrate("poison")
        for boot in range(1, 5):
            node = await fleet.connect("node2", boot)
            fleet.clock.advance(10)
            await fleet.settle()
            assert (await node.claim()).attempt == boot
        node = await fleet.connect("node2", 5)
        ended = await fleet.job(job)
        assert (ended.status, ended.attempts) == ("failed", 4)
        assert ended.error is not None
        assert ended.error.code == "poison"
        assert balanced(ended)
        (letter,) = (await fleet.http.get("/dead-letters")).json()["dead_letters"]
        assert (letter["job_id"], letter["losses"], letter["attempts"]) == (job, 4, 4)
        await fleet.migrate("harmless")
        await node.poll(results=[node.result(await node.claim())])
        assert (await fleet.jobs())[-1].status == "succeeded"
        await fleet.ask(job, "retry")
        await node.poll(results=[node.result(await node.claim())])
        assert (await fleet.job(job)).status == "succeeded"
        assert (await fleet.http.get("/dead-letters")).json()["dead_letters"] == []


async def test_failures_wait_longer_each_time_and_end_as_a_dead_letter(
    data_dir: str, place: str | None
) -> None:
    async with fleet_in(data_dir, database_url=place, attempts_max=3) as fleet:
        node, task = await leased(fleet)
        for delay_s in (2, 3):
            await node.poll(results=[node.failure(task, "transient", "timeout")])
            fleet.clock.advance(delay_s - 0.1)
            await fleet.settle()
            assert (await node.poll()).tasks == []
            fleet.clock.advance(0.2)
            await fleet.settle()
            task = await node.claim()
        await node.poll(results=[node.failure(task, "transient", "timeout")])
        assert (await fleet.job()).status == "failed"
        (letter,) = (await fleet.http.get("/dead-letters")).json()["dead_letters"]
        assert (letter["error"]["code"], letter["attempts"]) == ("timeout", 3)


async def test_how_long_the_queue_has_waited_is_measured_by_whether_its_node_is_there(fleet: Fleet) -> None:
    await fleet.register("node1", "node2", "away")
    node = await fleet.connect("node2")
    await fleet.migrate("for-nobody", dst="away")
    fleet.clock.advance(7)
    await fleet.migrate("for-node2")
    fleet.clock.advance(5)

    async def waited(status: str) -> float:
        total = await fleet.metric(f'replicator_ready_oldest_seconds{{node_status="{status}"}}')
        return total / len(fleet.replicas)

    assert (await waited("connected"), await waited("disconnected")) == (5, 12)
    await node.poll(results=[node.result(await node.claim())])
    assert (await waited("connected"), await waited("disconnected")) == (0, 12)
