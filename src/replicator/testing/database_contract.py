"""What every `Database` of the control plane promises. A test class derives from `DatabaseContract` and gives the
fixture `stage`; where the database has room for several processes, its two databases are two of them."""
# ruff: noqa: D102  (the names of the tests are the promises)

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from replicator.control_plane.domain.node import AddressOrigin, Node
from replicator.control_plane.ports import Database, Event, Unit
from replicator.kernel.names import NodeName
from replicator.testing.control_plane_values import job_in, task_in

NAME = NodeName("node1")
_WRITERS = 20


@dataclass
class Stage:
    """Two processes' doors to one database, or twice the same; `told` are the events of the first."""

    first: Database
    second: Database
    told: list[Event] = field(default_factory=list)


def node(name: str = NAME, *, tries: int = 0) -> Node:
    """A node to store."""
    return Node(
        name=NodeName(name),
        base_url="http://node.example",
        address_origin=AddressOrigin.OPERATOR,
        join_tries=tries,
        disconnected_at_ms=None,
        join_at_ms=None,
        registered_at_ms=1,
        updated_at_ms=1,
    )


def count_up(unit: Unit) -> int:
    """Read, then write what depends on it."""
    present = unit.nodes.get(NAME)
    tries = 1 if present is None else present.join_tries + 1
    unit.nodes.put(node(tries=tries))
    return tries


def tries(unit: Unit) -> int:
    """How often it was counted up."""
    present = unit.nodes.get(NAME)
    return 0 if present is None else present.join_tries


def add(name: str) -> Callable[[Unit], None]:
    """Work that stores a node."""
    return lambda unit: unit.nodes.put(node(name))


def names(unit: Unit) -> list[str]:
    """The nodes that are stored."""
    return [each.name for each in unit.nodes.page(after="", limit=1000)]


class DatabaseContract:
    """See the module."""

    async def test_what_was_returned_is_there_for_every_process(self, stage: Stage) -> None:
        assert await stage.first.transact(count_up) == 1
        assert await stage.second.read(tries) == 1
        assert await stage.second.transact(count_up) == 2
        assert await stage.first.read(tries) == 2

    async def test_units_of_all_processes_take_effect_one_after_another(self, stage: Stage) -> None:
        databases = [stage.first, stage.second] * _WRITERS
        seen = await asyncio.gather(*(each.transact(count_up) for each in databases))
        assert sorted(seen) == list(range(1, 2 * _WRITERS + 1))
        assert await stage.first.read(tries) == 2 * _WRITERS

    async def test_a_unit_that_fails_undoes_itself_and_nothing_else(self, stage: Stage) -> None:
        def half(unit: Unit) -> None:
            unit.nodes.put(node("half"))
            names(unit)  # so that it is not only kept in mind
            raise LookupError("no")

        works: list[Callable[[Unit], object]] = [add("a"), half, add("b"), half, add("c"), half, half, half]
        results = await asyncio.gather(*map(stage.first.transact, works), return_exceptions=True)
        assert [isinstance(each, LookupError) for each in results] == [
            False,
            True,
            False,
            True,
            False,
            True,
            True,
            True,
        ]
        assert await stage.first.read(names) == ["a", "b", "c"]

    async def test_a_unit_that_fails_before_it_writes_disturbs_nobody(self, stage: Stage) -> None:
        def refuse(unit: Unit) -> None:
            tries(unit)
            raise LookupError("no")

        works: list[Callable[[Unit], object]] = [add("a"), refuse, add("b")]
        results = await asyncio.gather(*map(stage.first.transact, works), return_exceptions=True)
        assert isinstance(results[1], LookupError)
        assert await stage.first.read(names) == ["a", "b"]

    async def test_a_unit_reads_what_it_has_written(self, stage: Stage) -> None:
        def write_and_read(unit: Unit) -> tuple[int, list[str]]:
            count_up(unit)
            return count_up(unit), names(unit)

        assert await stage.first.transact(write_and_read) == (2, [NAME])

    async def test_ids_grow_over_all_processes(self, stage: Stage) -> None:
        def submit(unit: Unit) -> int:
            return unit.jobs.add(job_in()).id

        assert [await each.transact(submit) for each in (stage.first, stage.second, stage.first)] == [1, 2, 3]

    async def test_records_come_back_as_they_were(self, stage: Stage) -> None:
        label = "ä€𝄞\\ 'quoted' %s {} :name"

        def write(unit: Unit) -> tuple[object, object]:
            job = unit.jobs.add(replace(job_in(), idempotency_key=label))
            task = unit.tasks.add(replace(task_in(), job_id=job.id, ready_at_ms=2**53))
            return job, task

        job, task = await stage.first.transact(write)
        found = await stage.second.read(lambda unit: (unit.jobs.by_idempotency_key(label), unit.tasks.get(1)))
        assert found == (job, task)

    async def test_names_are_in_the_order_of_their_bytes(self, stage: Stage) -> None:
        for name in ("b-1", "B", "a.2", "a", "a-2", "b1"):
            await stage.first.transact(add(name))
        assert await stage.first.read(names) == ["B", "a", "a-2", "a.2", "b-1", "b1"]

    async def test_events_are_told_once_and_only_of_what_took_effect(self, stage: Stage) -> None:
        def note(name: str, *, fail: bool = False) -> Callable[[Unit], None]:
            def work(unit: Unit) -> None:
                unit.nodes.put(node(name))
                names(unit)
                unit.note(Event(name=f"test.{name}", wakes=(name, "shared")))
                if fail:
                    raise LookupError(name)

            return work

        works = [note("a"), note("b", fail=True), note("c")]
        await asyncio.gather(*map(stage.first.transact, works), return_exceptions=True)
        assert sorted(event.name for event in stage.told) == ["test.a", "test.c"]

    async def test_the_database_has_one_identity_and_a_clock(self, stage: Stage) -> None:
        def facts(unit: Unit) -> tuple[str, bool]:
            return unit.control_plane, unit.now_ms == unit.now_ms > 0

        found = {
            await each(facts) for each in (stage.first.transact, stage.second.transact, stage.second.read)
        }
        assert len(found) == 1
        assert found.pop()[1]

    async def test_a_caller_that_gives_up_harms_nobody(self, stage: Stage) -> None:
        calls = [asyncio.create_task(stage.first.transact(count_up)) for _ in range(_WRITERS)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        counted = await stage.first.transact(tries)
        assert _WRITERS // 2 <= counted <= _WRITERS


class ConcurrentDatabaseContract(DatabaseContract):
    """What those promise that run work in threads of their own."""

    async def test_readers_keep_their_view_and_do_not_wait_for_writers(self, stage: Stage) -> None:
        await stage.first.transact(count_up)
        entered, leave = threading.Event(), threading.Event()

        def read_twice(unit: Unit) -> tuple[int, int]:
            before = tries(unit)
            entered.set()
            assert leave.wait(30)
            return before, tries(unit)

        reading = asyncio.create_task(stage.first.read(read_twice))
        await asyncio.to_thread(entered.wait, 30)
        await stage.second.transact(count_up)
        leave.set()
        assert await reading == (1, 1)
        assert await stage.first.read(tries) == 2

    async def test_events_are_told_though_the_caller_has_gone(self, stage: Stage) -> None:
        entered, leave = threading.Event(), threading.Event()

        def note(unit: Unit) -> None:
            count_up(unit)
            unit.note(Event(name="test.noted", wakes=("node1",)))
            entered.set()
            assert leave.wait(1.5)  # less than a transaction may idle

        calling = asyncio.create_task(stage.first.transact(note))
        await asyncio.to_thread(entered.wait, 30)
        calling.cancel()
        await asyncio.wait([calling])
        assert stage.told == []
        leave.set()
        assert await stage.first.transact(count_up) == 2
        assert [event.name for event in stage.told] == ["test.noted"]

    async def test_readers_are_answered_while_a_unit_writes(self, stage: Stage) -> None:
        entered, leave = threading.Event(), threading.Event()

        def write_slowly(unit: Unit) -> int:
            counted = count_up(unit)
            entered.set()
            assert leave.wait(1.5)  # less than a transaction may idle
            return counted

        writing = asyncio.create_task(stage.first.transact(write_slowly))
        await asyncio.to_thread(entered.wait, 30)
        assert await stage.second.read(tries) == 0
        leave.set()
        assert await writing >= 1

    async def test_many_callers_find_what_they_have_written(self, stage: Stage) -> None:
        async def write_and_read(number: int) -> bool:
            name = f"node-{number:03}"
            await (stage.first if number % 2 else stage.second).transact(add(name))
            return name in await stage.first.read(names)

        assert all(await asyncio.gather(*(write_and_read(number) for number in range(60))))
