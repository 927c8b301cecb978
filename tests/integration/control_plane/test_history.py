"""Jobs that ended a while ago: out of the way of the living, found as before, and gone in their time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import pytest
import sqlalchemy as sa

from replicator.control_plane.domain.job import JobState
from replicator.control_plane.domain.object_row import Outcome
from replicator.control_plane.domain.task import TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.control_plane.ports import Unit
from replicator.control_plane.scheduler import pruning
from replicator.control_plane.scheduler.pruning import Keeping
from replicator.kernel.errors import Conflict
from replicator.kernel.names import NodeName
from replicator.testing.control_plane import ControlPlaneUnderTest, control_plane_in
from replicator.testing.control_plane_values import PLANNED, job_in, row_of, task_in

pytestmark = pytest.mark.anyio

DAY_S = 86_400
KEPT_S = 90 * DAY_S
FAILED = Transfer(objects_planned=1, objects_failed=1)
SOME_TASKS = [1, 2, 250, 499, 500, 501, 502, 999, 1000, 1001, 1199, 1200]
AT_ONCE = Keeping(after_ms=0, keep_ms=0)


async def ended_job(
    plane: ControlPlaneUnderTest,
    *,
    state: JobState = JobState.FAILED,
    tasks: int = 1,
    objects: int = 1,
    attempts: int = 1,
    **fields: Any,
) -> int:
    """A job that ends now, with so many tasks, objects, and attempts of each task; its id."""

    def work(unit: Unit) -> int:
        now: dict[str, Any] = {"created_at_ms": unit.now_ms, "updated_at_ms": unit.now_ms}
        counts = {
            "tasks_planned": tasks,
            "tasks_failed": tasks,
            "attempts": tasks * attempts,
            "ended": FAILED,
        }
        more = (
            {"planning": PLANNED, "fingerprint": "f", "finished_at_ms": unit.now_ms} | counts | now | fields
        )
        job = unit.jobs.add(job_in(state, **more))
        for _ in range(tasks):
            task = unit.tasks.add(task_in(TaskState.FAILED, job_id=job.id, attempt=attempts, **now))
            for epoch in range(1, attempts + 1):
                leased = task_in(TaskState.LEASED, id=task.id, epoch=epoch, attempt=epoch, begun_at_ms=1)
                unit.attempts.begin(leased)
        rows = [row_of(number, job_id=job.id, outcome=Outcome.FAILED) for number in range(1, objects + 1)]
        unit.objects.add_many(rows)
        unit.events.append(job.id, "job.failed", {"job": job.id})
        return job.id

    return await plane.parts.database.transact(work)


async def pass_time(plane: ControlPlaneUnderTest, seconds: float) -> None:
    """Let time pass, and the duties do what is due."""
    plane.clock.advance(seconds)
    await plane.settle()


async def place_of(plane: ControlPlaneUnderTest, job_id: int) -> str:
    def look(unit: Unit) -> list[str]:
        places = {"jobs": unit.jobs.get(job_id), "history": unit.history.get(job_id)}
        return [name for name, found in places.items() if found is not None]

    return " and ".join(await plane.parts.database.read(look))


async def has_moved_tasks(plane: ControlPlaneUnderTest, job_id: int) -> bool:
    return await plane.parts.database.read(lambda unit: unit.history.holds_tasks_of(job_id))


async def step(plane: ControlPlaneUnderTest, keeping: Keeping = AT_ONCE) -> None:
    await plane.parts.database.transact(lambda unit: pruning.step(unit, keeping))


async def listed(plane: ControlPlaneUnderTest, **params: Any) -> list[int]:
    """The ids of all jobs, page by page."""
    ids: list[int] = []
    while True:
        page = (await plane.http.get("/jobs", params=params)).raise_for_status().json()
        ids += [job["id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            return ids
        params["cursor"] = page["next_cursor"]


@contextmanager
def rows_written() -> Iterator[list[int]]:
    """How many rows each statement has written."""
    counts: list[int] = []

    def count(_: Any, cursor: Any, text: str, *__: Any) -> None:
        if text.startswith(("UPDATE", "INSERT", "DELETE")):
            counts.append(cursor.rowcount)

    sa.event.listen(sa.Engine, "after_cursor_execute", count)
    try:
        yield counts
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", count)


async def everything_shown(plane: ControlPlaneUnderTest) -> list[Any]:
    paths = ("/jobs", "/jobs/1", "/jobs/1/objects", "/jobs/1/objects?format=csv", "/jobs/1/events")
    return [(await plane.http.get(path)).raise_for_status().content for path in paths]


async def test_a_job_in_history_reads_as_it_did_before(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.migrate()
    await node.poll(capacity=0, results=[node.result(await node.claim(), transfer={"bytes_logical": 5})])
    before = await everything_shown(plane)
    await pass_time(plane, DAY_S - 1)
    assert await place_of(plane, 1) == "jobs"
    await pass_time(plane, 1)
    assert await place_of(plane, 1) == "history"
    assert await everything_shown(plane) == before
    assert (await plane.job()).status == "succeeded"
    await pass_time(plane, KEPT_S - DAY_S - 1)
    assert await place_of(plane, 1) == "history"
    await pass_time(plane, 1)
    assert await place_of(plane, 1) == ""
    assert (await plane.http.get("/jobs/1")).status_code == 404
    assert (await plane.objects(), await plane.events(), await listed(plane)) == ([], [], [])


async def test_a_live_job_stays_however_old_it_is(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await plane.migrate()
    await plane.ask(1, "pause")
    await pass_time(plane, 2 * KEPT_S)
    assert await place_of(plane, 1) == "jobs"
    assert (await plane.ask(1, "resume")).status == "running"


async def test_nothing_changes_in_history(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await ended_job(plane)
    await pass_time(plane, DAY_S)
    answers = [await plane.http.post(f"/jobs/1/{what}") for what in ("retry", "pause", "resume", "cancel")]
    answers.append(await plane.http.patch("/jobs/1", json={"priority": 3}))
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "job 1 ended a while ago (failed) and is in history" in answer.json()["detail"]
        assert "submit a new one" in answer.json()["detail"]
    assert await place_of(plane, 1) == "history"


async def test_a_key_belongs_to_its_job_for_as_long_as_that_is_kept(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    request = {"src_node": "node1", "dst_node": "node2", "object_id": "demo.bin"}

    async def submit(**changes: str) -> tuple[int, Any]:
        answer = await plane.http.post(
            "/jobs/migrate", json=request | changes, headers={"Idempotency-Key": "key"}
        )
        return answer.status_code, answer.json()

    await submit()
    await plane.http.post("/jobs/1/cancel")
    await pass_time(plane, DAY_S)
    assert await place_of(plane, 1) == "history"
    status, job = await submit()
    assert (status, job["id"], job["status"]) == (200, 1, "cancelled")
    assert (await submit(object_id="other"))[0] == 409
    await pass_time(plane, KEPT_S)
    status, job = await submit()
    assert (status, job["id"]) == (201, 2)


async def test_a_list_goes_on_in_history(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    states = [JobState.FAILED, JobState.CANCELLED, JobState.FAILED, JobState.FAILED]
    for state in states:
        await ended_job(plane, state=state)
    await pass_time(plane, DAY_S)
    for state in states:
        await ended_job(plane, state=state)
    assert [await place_of(plane, number) for number in (4, 5)] == ["history", "jobs"]
    for limit in (1, 3, 4, 5, 8, 100):
        assert await listed(plane, limit=limit) == [8, 7, 6, 5, 4, 3, 2, 1]
        assert await listed(plane, limit=limit, status="failed") == [8, 7, 5, 4, 3, 1]
        assert await listed(plane, limit=limit, status="cancelled") == [6, 2]


async def test_jobs_do_not_move_in_the_order_of_their_numbers(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await plane.migrate()
    await ended_job(plane)
    await plane.migrate()
    await pass_time(plane, DAY_S / 2)
    await plane.http.post("/jobs/3/cancel")
    await pass_time(plane, DAY_S / 2)
    assert [await place_of(plane, number) for number in (1, 2, 3)] == ["jobs", "history", "jobs"]
    for limit in (1, 2, 3):
        assert await listed(plane, limit=limit) == [3, 2, 1]


async def test_a_large_job_moves_and_goes_in_bounded_units(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    job_id = await ended_job(plane, tasks=1200, objects=3000)
    await ended_job(plane)

    async def places() -> tuple[list[int], list[int]]:
        """Of some of the job's tasks: which are among the living ones, and which in history."""

        def look(unit: Unit) -> tuple[list[int], list[int]]:
            ids = SOME_TASKS
            return (
                [number for number in ids if unit.tasks.get(number) is not None],
                [number for number in ids if unit.history.task(number) is not None],
            )

        return await plane.parts.database.read(look)

    for moved in (500, 1000, 1200):
        assert await place_of(plane, job_id) == "jobs"
        with rows_written() as counts:
            await step(plane)
        # Each task and its attempt are written and removed; the job's row goes with the last.
        assert sum(counts) <= 2 * (500 * 2 + 1)
        living, history = await places()
        assert history == [number for number in SOME_TASKS if number <= moved]
        assert living == [number for number in SOME_TASKS if number > moved]
        # From the first page on it is too late for another try.
        assert (await plane.http.post(f"/jobs/{job_id}/retry")).status_code == 409
        shown = await plane.job(job_id)
        assert (shown.status, shown.progress.objects_failed) == ("failed", 1)
        found = await plane.parts.database.read(lambda unit: unit.tasks.of_job(job_id, after=0, limit=2000))
        assert [task.id for task in found] == list(range(1, 1201))
        assert len(await plane.objects(job_id)) == 3000
    assert await place_of(plane, job_id) == "history"
    await step(plane)
    assert await place_of(plane, 2) == "history"
    units = 0
    plane.clock.advance(1)
    while await place_of(plane, job_id):
        with rows_written() as counts:
            await step(plane, Keeping(after_ms=DAY_S, keep_ms=1))
        assert sum(counts) <= pruning.ROWS_PRUNED_MAX + pruning.JOBS_MAX
        units += 1
    assert units == 3  # 1,200 attempts, 1,200 tasks, 3,000 objects, an event and the job
    assert (await places(), await plane.objects(job_id), await plane.events(job_id)) == (([], []), [], [])


async def test_nothing_of_other_jobs_goes(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    first = await ended_job(plane, tasks=3, objects=4, attempts=2)
    await pass_time(plane, DAY_S)
    second = await ended_job(plane, tasks=3, objects=4, attempts=2)
    await pass_time(plane, DAY_S)
    third = await ended_job(plane, tasks=3, objects=4, attempts=2)

    async def kept(job_id: int) -> list[int]:
        def look(unit: Unit) -> list[int]:
            tasks = unit.tasks.of_job(job_id, after=0, limit=100)
            attempts = [each for task in tasks for each in unit.attempts.of_task(task.id, limit=100)]
            return [len(tasks), len(attempts)]

        counts = await plane.parts.database.read(look)
        return [*counts, len(await plane.objects(job_id)), len(await plane.events(job_id))]

    everything, nothing = [3, 6, 4, 1], [0, 0, 0, 0]
    assert [await kept(job_id) for job_id in (first, second, third)] == [everything] * 3
    assert [await place_of(plane, job_id) for job_id in (first, second, third)] == [
        "history",
        "history",
        "jobs",
    ]
    await pass_time(plane, KEPT_S - 2 * DAY_S)
    assert [await kept(job_id) for job_id in (first, second, third)] == [nothing, everything, everything]
    assert await listed(plane) == [third, second]


@pytest.mark.parametrize("statement", range(1, 7))
async def test_a_move_that_fails_half_way_has_not_happened(
    plane: ControlPlaneUnderTest, statement: int
) -> None:
    await plane.register("node1", "node2")
    await ended_job(plane, tasks=2)
    written = 0

    def fail(_: Any, __: Any, text: str, *___: Any) -> None:
        nonlocal written
        written += text.startswith(("INSERT", "DELETE"))
        if written == statement:
            raise RuntimeError("the power is gone")

    sa.event.listen(sa.Engine, "after_cursor_execute", fail)
    try:
        with pytest.raises(RuntimeError, match="power"):
            await step(plane)
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", fail)
    assert await place_of(plane, 1) == "jobs"
    assert not await has_moved_tasks(plane, 1)
    assert (await plane.ask(1, "retry")).status == "running"


async def test_a_job_is_tried_again_or_moved_but_never_both(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    ids = [await ended_job(plane, tasks=1 + number % 3) for number in range(40)]
    plane.clock.advance(1)
    retried: list[int] = []

    async def retry(job_id: int) -> None:
        with suppress(Conflict):
            await plane.parts.services.jobs.retry(job_id)
            retried.append(job_id)

    async def move() -> None:
        # A job of three tasks takes two of them.
        await plane.parts.database.transact(
            lambda unit: unit.history.move(ended_by_ms=unit.now_ms, jobs_max=1, tasks_max=2)
        )

    await asyncio.gather(*(work for job_id in reversed(ids) for work in (retry(job_id), move())))
    assert 0 < len(retried) < len(ids)
    for job_id in ids:
        assert not (await has_moved_tasks(plane, job_id) and job_id in retried)
        assert await place_of(plane, job_id) in ({"jobs"} if job_id in retried else {"history", "jobs"})
    for _ in ids:
        await move()
    for job_id in ids:
        assert await place_of(plane, job_id) == ("jobs" if job_id in retried else "history")


async def test_a_node_goes_while_its_jobs_are_in_history(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await ended_job(plane)
    await pass_time(plane, DAY_S)
    assert (await plane.http.delete("/nodes/node2")).status_code == 204
    assert (await plane.job()).dst_node == "node2"


async def test_numbers_are_never_given_twice(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await ended_job(plane)
    await pass_time(plane, DAY_S)
    await pass_time(plane, KEPT_S)
    assert await listed(plane) == []
    assert await plane.migrate() == 2
    (task,) = await plane.parts.database.read(lambda unit: unit.tasks.live_of_jobs([2]))
    assert task.id == 2


async def test_where_objects_went_is_known_from_history(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    job_id = await ended_job(plane, objects=0)
    row = row_of(1, job_id=job_id, manifest="m", outcome=Outcome.VERIFIED)
    await plane.parts.database.transact(lambda unit: unit.objects.add_many([row]))
    await pass_time(plane, DAY_S)
    assert await place_of(plane, job_id) == "history"
    known = await plane.parts.database.read(lambda unit: unit.objects.holders(["m"], limit=4))
    assert known == [NodeName("node2")]


async def test_the_metric_counts_what_is_not_in_history(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await ended_job(plane)
    assert 'replicator_jobs{state="failed"} 1.0' in (await plane.http.get("/metrics")).text
    await pass_time(plane, DAY_S)
    text = (await plane.http.get("/metrics")).text
    assert 'replicator_jobs{state="failed"} 0.0' in text
    assert "but for those in history" in text


async def test_events_of_a_job_that_goes_while_they_are_read_end(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    job_id = await ended_job(plane)
    many: list[dict[str, Any]] = [{"row": number} for number in range(600)]
    await plane.parts.database.transact(lambda unit: unit.events.append(job_id, "object.failed", *many))
    await pass_time(plane, DAY_S)
    told = 0
    async with aclosing(plane.parts.services.events.follow(job_id, after=0)) as stream:
        async for _ in stream:
            if not told:
                await pass_time(plane, KEPT_S)
            told += 1
    assert 0 < told < 601


async def test_jobs_may_move_at_once_and_be_kept_for_ever(data_dir: str) -> None:
    async with control_plane_in(data_dir, history_after_seconds=0, history_keep_seconds=0) as plane:
        await plane.register("node1", "node2")
        await plane.migrate()
        await plane.ask(1, "cancel")
        assert await place_of(plane, 1) == "history"
        await pass_time(plane, 100 * KEPT_S)
        assert await place_of(plane, 1) == "history"
