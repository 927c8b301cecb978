"""Units of one transaction have their rows and their writes in common: nothing but the number of statements shows it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy as sa

from replicator.control_plane.db.database import SqlDatabase, open_database
from replicator.control_plane.db.door import Measures
from replicator.control_plane.domain.job import Job
from replicator.control_plane.domain.limits import NodeLimits
from replicator.control_plane.domain.object_row import Outcome
from replicator.control_plane.ports import Unit
from replicator.kernel.names import NodeName
from replicator.runtime.clock import SystemClock
from replicator.testing.control_plane_values import job_in, row_of, task_in
from replicator.testing.database_contract import add, names

pytestmark = pytest.mark.anyio
Work = Callable[[Unit], object]


@pytest.fixture
def commits() -> list[int]:
    """How many units each commit made durable."""
    return []


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, data_dir: str) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{data_dir}/shared.sqlite"
    found: str = request.getfixturevalue("database_url")
    return found


def opened(url: str, commits: list[int] | None = None) -> closing[SqlDatabase]:
    measures = Measures(on_commit=([] if commits is None else commits).append)
    return closing(open_database(url, clock=SystemClock(), on_events=lambda _: None, measures=measures))


@pytest.fixture
async def database(url: str, anyio_backend: str, commits: list[int]) -> AsyncIterator[SqlDatabase]:
    with opened(url, commits) as database:
        yield database


async def together(database: SqlDatabase, *works: Work) -> list[object]:
    """What `works` return or raise; they wait behind a unit until all of them do."""
    entered, leave = threading.Event(), threading.Event()

    def hold(_: Unit) -> None:
        entered.set()
        assert leave.wait(1.5)  # less than a transaction may idle

    holding = asyncio.create_task(database.transact(hold))
    await asyncio.to_thread(entered.wait, 30)
    running = [asyncio.create_task(database.transact(work)) for work in works]
    await asyncio.sleep(0)  # each has begun, and so waits
    leave.set()
    await holding
    return list(await asyncio.gather(*running, return_exceptions=True))


def submit(unit: Unit) -> Job:
    return unit.jobs.add(job_in())


def refuse(work: Work) -> Work:
    def fail(unit: Unit) -> None:
        work(unit)
        raise LookupError("no")

    return fail


def kinds(answers: list[object]) -> list[str]:
    return [type(answer).__name__ for answer in answers]


async def test_each_unit_sees_what_those_before_it_have_put(
    database: SqlDatabase, commits: list[int]
) -> None:
    def attempt(unit: Unit) -> int:
        job = unit.jobs.get(1)
        assert job is not None
        unit.jobs.put(replace(job, attempts=job.attempts + 1))
        return job.attempts

    found = await together(database, submit, attempt, attempt, lambda unit: unit.jobs.get(1), attempt)
    assert [found[1], found[2], found[4]] == [0, 1, 2]
    assert isinstance(found[3], Job)
    assert found[3].attempts == 2
    assert commits == [1, 5]
    stored = await database.read(lambda unit: unit.jobs.get(1))
    assert stored is not None
    assert stored.attempts == 3


async def test_what_a_unit_put_before_it_failed_is_nowhere(database: SqlDatabase) -> None:
    seen: list[list[str]] = []

    def look(unit: Unit) -> None:
        seen.append([str(name) for name in ("a", "b", "c") if unit.nodes.get(NodeName(name)) is not None])

    answers = await together(database, add("a"), refuse(add("b")), look, add("c"), look, refuse(add("a")))
    assert kinds(answers) == ["NoneType", "LookupError", "NoneType", "NoneType", "NoneType", "LookupError"]
    assert seen[-2:] == [["a"], ["a", "c"]]
    assert await database.read(names) == ["a", "c"]


async def test_what_a_unit_wrote_before_it_failed_is_nowhere(database: SqlDatabase) -> None:
    limits = NodeLimits(tasks_max=1)

    def limit(unit: Unit) -> NodeLimits:
        unit.limits.set_node(NodeName("a"), limits)
        return unit.limits.of_node(NodeName("a"))

    def held_to(unit: Unit) -> NodeLimits:
        return unit.limits.of_node(NodeName("a"))

    answers = await together(database, add("a"), held_to, refuse(limit), held_to, add("b"))
    assert answers[1] == answers[3] == NodeLimits()
    assert kinds(answers)[2] == "LookupError"
    assert await database.read(names) == ["a", "b"]
    assert await together(database, limit, held_to) == [limits, limits]


async def test_what_cannot_be_written_is_told_to_the_unit_that_put_it(database: SqlDatabase) -> None:
    def twice(unit: Unit) -> int:
        """Without looking whether the key is taken."""
        return unit.jobs.add(job_in(idempotency_key="key")).id

    answers = await together(database, add("a"), twice, add("b"), twice, add("c"))
    assert kinds(answers) == ["NoneType", "int", "NoneType", "Unavailable", "NoneType"]
    assert await database.read(names) == ["a", "b", "c"]
    found = await database.read(lambda unit: unit.jobs.by_idempotency_key("key"))
    assert found is not None
    assert found.id == answers[1]


async def test_a_key_that_a_unit_before_has_taken_is_found(database: SqlDatabase) -> None:
    def once(unit: Unit) -> int:
        found = unit.jobs.by_idempotency_key("key")
        return (found or unit.jobs.add(job_in(idempotency_key="key"))).id

    _, *taken, _, again = await together(database, submit, once, once, submit, once)
    assert taken == [again, again]
    assert len(await jobs(database)) == 3


async def jobs(database: SqlDatabase) -> list[int]:
    """The numbers of all jobs."""
    found = await database.read(lambda unit: unit.jobs.page(before=None, limit=1000, state=None))
    return sorted(job.id for job in found)


async def test_numbers_begin_with_one_and_are_never_given_again(url: str) -> None:
    def work(unit: Unit) -> tuple[int, int]:
        job = submit(unit)
        return job.id, unit.tasks.add(task_in(job_id=job.id)).id

    with opened(url) as database:
        assert await database.transact(work) == (1, 1)
        answers = await together(database, work, refuse(work), work)
        assert kinds(answers) == ["tuple", "LookupError", "tuple"]
        assert len({(1, 1), answers[0], answers[2]}) == 3
        newest = answers[2]
        assert isinstance(newest, tuple)
        await database._door.transact(_delete_all)
    with opened(url) as database:
        job, task = await database.transact(work)
        assert (job, task) > newest
        assert task > newest[1]


def _delete_all(transaction: object) -> None:
    connection: sa.Connection = transaction.connection  # type: ignore[attr-defined]
    for table in ("tasks", "jobs"):
        connection.execute(sa.text(f"DELETE FROM {table}"))


async def test_objects_are_as_the_units_left_them_in_their_order(database: SqlDatabase) -> None:
    def plan(unit: Unit) -> None:
        job = submit(unit)
        unit.objects.add_many([row_of(number, job_id=job.id) for number in (1, 2)])
        task = unit.tasks.add(task_in(job_id=job.id, items=2))
        rows = [replace(row_of(number, job_id=job.id), task_id=None) for number in (1, 2)]
        unit.objects.give(rows, task)

    def count(unit: Unit) -> None:
        task = unit.tasks.get(1)
        assert task is not None
        unit.objects.pending_of_many([task])
        unit.objects.count_attempt(task)

    def verify(unit: Unit) -> None:
        task = unit.tasks.get(1)
        assert task is not None
        first = unit.objects.pending_of(task)[0]
        unit.objects.put_many([replace(first, outcome=Outcome.VERIFIED)])

    await together(database, plan, count, refuse(count), count, refuse(verify), verify, count)
    found = await database.read(lambda unit: unit.objects.page(1, after_row=0, limit=9))
    assert [(row.outcome, row.attempts, row.task_id) for row in found] == [
        ("verified", 2, 1),
        ("pending", 3, 1),
    ]


async def test_events_of_one_job_are_numbered_over_the_units(database: SqlDatabase) -> None:
    await database.transact(submit)

    def tell(name: str) -> Work:
        return lambda unit: unit.events.append(1, name, {})

    await together(database, tell("a"), refuse(tell("b")), tell("c"), tell("d"))
    found = await database.read(lambda unit: unit.events.after(1, event_id=0, limit=9))
    assert [(event.id, event.name) for event in found] == [(1, "a"), (2, "c"), (3, "d")]
