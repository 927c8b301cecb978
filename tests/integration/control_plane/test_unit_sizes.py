"""Nobody waits long for the one writer: what a single transaction does is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from replicator.control_plane.scheduler import duties
from replicator.testing.control_plane import ControlPlaneUnderTest
from replicator.wire.sessions import ITEMS_MAX

pytestmark = pytest.mark.anyio
ROWS = 4 * ITEMS_MAX - 24


@contextmanager
def counted_writes() -> Iterator[list[int]]:
    """How many times each statement that writes was carried out."""
    counts: list[int] = []

    def count(_: Any, __: Any, text: str, values: Any, ___: Any, executemany: bool) -> None:
        if text.startswith(("UPDATE", "INSERT", "DELETE")):
            counts.append(len(values) if executemany else 1)

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    try:
        yield counts
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", count)


async def planned(plane: ControlPlaneUnderTest, **request: Any) -> None:
    """A job that has been surveyed: four tasks with as many objects as a task may have."""
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.submit("migrate", prefix="", **request)
    findings = [
        {
            "finding": "absent",
            "bucket": "default",
            "object_id": f"object-{number:06}",
            "version": f"{number:032x}",
            "manifest": f"{number:064x}",
            "size": 1,
        }
        for number in range(ROWS)
    ]
    task = await node.claim()
    await node.poll(
        capacity=0, results=[node.result(task, survey={"compared": ROWS, "found": findings, "cursor": None})]
    )
    await plane.settle()


async def test_a_job_is_cancelled_without_writing_each_of_its_objects(plane: ControlPlaneUnderTest) -> None:
    await planned(plane)
    with counted_writes() as counts:
        assert (await plane.http.post("/jobs/1/cancel")).json()["status"] == "cancelled"
    assert sum(counts) < 100
    rows = await plane.objects()
    assert len(rows) == ROWS
    assert {str(row.outcome) for row in rows} == {"cancelled"}


async def test_what_came_for_cancelled_objects_is_counted(plane: ControlPlaneUnderTest) -> None:
    await planned(plane)
    node = await plane.connect("node2")
    task = (await node.poll(capacity=1)).tasks[0]
    failed = node.failure(task, "transient") | {"transfer": {"bytes_transferred": 70, "bytes_wire": 90}}
    await node.poll(capacity=0, results=[failed])
    await plane.http.post("/jobs/1/cancel")
    progress = (await plane.job()).progress
    assert (progress.bytes_transferred, progress.bytes_logical, progress.bytes_wire) == (70, 70, 90)
    assert sum(row.bytes_transferred for row in await plane.objects()) == 70


async def test_tasks_that_waited_too_long_end_a_few_at_a_time(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    for number in range(duties.ENDED_MAX + 1):
        await plane.migrate(f"object-{number}")
    policy = plane.parts.scheduler.policy
    plane.clock.advance(policy.park_ms_max / 1000 + 1)
    database = plane.parts.database
    await database.transact(lambda unit: duties.give_up(unit, policy))
    assert await database.read(lambda unit: unit.tasks.live_counts()) == {"ready": 1}
    await plane.settle()
    assert {(await plane.job(number + 1)).status for number in range(duties.ENDED_MAX + 1)} == {"failed"}


async def test_tasks_are_taken_back_a_few_at_a_time(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    for number in range(duties.ENDED_MAX + 1):
        await plane.migrate(f"object-{number}")
    node = await plane.connect("node2")
    assert len((await node.poll(capacity=64)).tasks) == duties.ENDED_MAX + 1
    plane.clock.advance(plane.parts.scheduler.lease_ms / 1000 + 1)
    database = plane.parts.database
    await database.transact(lambda unit: duties.take_back(unit, plane.parts.scheduler.policy))
    assert (await database.read(lambda unit: unit.tasks.live_counts()))["leased"] == 1
    await plane.settle()
    assert "leased" not in await database.read(lambda unit: unit.tasks.live_counts())
