"""The one door to the database."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import pytest
import sqlalchemy as sa

from replicator.control_plane.db import door as door_module
from replicator.control_plane.db import sqlite
from replicator.control_plane.db.door import Measures
from replicator.control_plane.db.sqlite import DatabaseTime, SqliteDoor
from replicator.kernel.errors import Unavailable
from replicator.testing.control_plane import ManualClock

pytestmark = pytest.mark.anyio

Work = Callable[[sa.Connection], object]
Answer = TypeVar("Answer")


class Door:
    """A door on a fresh file with one table, for work on its connection, that remembers the sizes of its commits."""

    def __init__(self, path: str) -> None:
        self.commits: list[int] = []
        measures = Measures(on_commit=self.commits.append)
        self._door = SqliteDoor(path, now_ms=DatabaseTime(ManualClock()), measures=measures)

    async def transact(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        return await self._door.transact(lambda transaction: work(transaction.connection))

    async def read(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        return await self._door.read(lambda transaction: work(transaction.connection))

    def close(self) -> None:
        self._door.close()


def insert(number: int) -> Work:
    return lambda connection: connection.execute(sa.text(f"INSERT INTO numbers VALUES ({number})"))


def numbers(connection: sa.Connection) -> list[int]:
    return list(connection.scalars(sa.text("SELECT number FROM numbers ORDER BY number")))


@pytest.fixture
async def door(data_dir: str, anyio_backend: str) -> AsyncIterator[Door]:
    door = Door(os.path.join(data_dir, "door.sqlite"))
    await door.transact(
        lambda connection: connection.execute(sa.text("CREATE TABLE numbers (number UNIQUE)"))
    )
    yield door
    door.close()


class Gate:
    """Work that holds the writer until the test lets it go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()

    def __call__(self, _: sa.Connection) -> None:
        self.entered.set()
        assert self.leave.wait(30)


async def behind_a_gate(door: Door, *works: Work) -> list[object]:
    """Run `works` as one group, which gathers while the writer is busy."""
    gate = Gate()
    holding = asyncio.create_task(door.transact(gate))
    await asyncio.to_thread(gate.entered.wait, 30)
    waiting = [asyncio.create_task(door.transact(work)) for work in works]
    await asyncio.sleep(0)
    gate.leave.set()
    await holding
    return await asyncio.gather(*waiting, return_exceptions=True)


async def test_what_was_returned_is_there(door: Door) -> None:
    assert await door.transact(lambda connection: (insert(1)(connection), 42)[1]) == 42
    assert await door.read(numbers) == [1]


async def test_units_that_wait_share_one_commit(door: Door) -> None:
    door.commits.clear()
    await behind_a_gate(door, *(insert(number) for number in range(20)))
    assert door.commits == [1, 20]
    assert await door.read(numbers) == list(range(20))


async def test_a_unit_that_fails_undoes_itself_and_nothing_else(door: Door) -> None:
    def half(connection: sa.Connection) -> None:
        insert(100)(connection)
        raise LookupError("no")

    results = await behind_a_gate(door, insert(1), half, insert(1), insert(2))
    assert isinstance(results[1], LookupError)
    assert isinstance(results[2], Unavailable)
    assert await door.read(numbers) == [1, 2]


async def test_units_of_a_group_see_each_other_in_order(door: Door) -> None:
    results = await behind_a_gate(door, insert(1), numbers, insert(2), numbers)
    assert (results[1], results[3]) == ([1], [1, 2])


async def test_nobody_is_answered_before_the_commit(door: Door) -> None:
    gate = Gate()

    def first(connection: sa.Connection) -> None:
        insert(1)(connection)

    warm = Gate()
    holding = asyncio.create_task(door.transact(warm))
    await asyncio.to_thread(warm.entered.wait, 30)
    answered = asyncio.create_task(door.transact(first))
    later = asyncio.create_task(door.transact(gate))
    await asyncio.sleep(0)
    warm.leave.set()
    await holding
    await asyncio.to_thread(gate.entered.wait, 30)
    assert not answered.done()
    assert await door.read(numbers) == []
    gate.leave.set()
    await asyncio.gather(answered, later)
    assert await door.read(numbers) == [1]


async def test_readers_keep_their_view(door: Door) -> None:
    await door.transact(insert(1))
    gate = Gate()

    def read_twice(connection: sa.Connection) -> tuple[list[int], list[int]]:
        before = numbers(connection)
        gate(connection)
        return before, numbers(connection)

    reading = asyncio.create_task(door.read(read_twice))
    await asyncio.to_thread(gate.entered.wait, 30)
    await door.transact(insert(2))
    gate.leave.set()
    assert await reading == ([1], [1])
    assert await door.read(numbers) == [1, 2]


async def test_readers_cannot_write(door: Door) -> None:
    with pytest.raises(Unavailable, match="readonly"):
        await door.read(insert(1))
    await door.transact(insert(1))


async def test_many_callers_at_once_all_succeed(door: Door) -> None:
    async def write_and_read(number: int) -> bool:
        await door.transact(insert(number))
        return number in await door.read(numbers)

    assert all(await asyncio.gather(*(write_and_read(number) for number in range(300))))


async def test_a_caller_that_gave_up_in_the_queue_leaves_nothing(door: Door) -> None:
    gate = Gate()
    holding = asyncio.create_task(door.transact(gate))
    await asyncio.to_thread(gate.entered.wait, 30)
    given_up = asyncio.create_task(door.transact(insert(1)))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    gate.leave.set()
    await holding
    await door.transact(insert(2))
    assert await door.read(numbers) == [2]


async def test_the_queue_is_bounded(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    holding = asyncio.create_task(door.transact(gate))
    await asyncio.to_thread(gate.entered.wait, 30)
    waiting = [asyncio.create_task(door.transact(numbers)) for _ in range(door_module.UNITS_WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="too much to do"):
        await door.transact(numbers)
    gate.leave.set()
    await asyncio.gather(holding, *waiting)
    monkeypatch.setattr(door_module, "READS_WAITING_MAX", 0)
    with pytest.raises(Unavailable, match="too much to do"):
        await door.read(numbers)


async def test_what_was_accepted_before_the_end_is_done(data_dir: str) -> None:
    path = os.path.join(data_dir, "ending.sqlite")
    door = Door(path)
    await door.transact(lambda connection: connection.execute(sa.text("CREATE TABLE numbers (number)")))
    accepted = [asyncio.create_task(door.transact(insert(number))) for number in range(1000)]
    await asyncio.sleep(0)
    await asyncio.to_thread(door.close)
    await asyncio.gather(*accepted)
    with pytest.raises(Unavailable, match="shutting down"):
        await door.transact(numbers)
    with pytest.raises(Unavailable):
        await door.read(numbers)
    again = Door(path)
    assert len(await again.read(numbers)) == 1000
    again.close()


async def test_a_full_disk_fails_every_unit_of_the_group_and_harms_none_before(door: Door) -> None:
    await door.transact(insert(1))
    await door.transact(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 4"))

    def fill(connection: sa.Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE big AS SELECT zeroblob(1000000)")

    results = await behind_a_gate(door, insert(2), fill)
    assert isinstance(results[1], Unavailable)
    await door.transact(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1000000"))
    await door.transact(insert(3))
    assert {1, 3} <= set(await door.read(numbers))
    assert (2 in await door.read(numbers)) == (not isinstance(results[0], Unavailable))


async def test_a_database_that_somebody_else_locks_is_unavailable_until_it_is_free(
    data_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_MS", 20)
    path = os.path.join(data_dir, "shared.sqlite")
    door = Door(path)
    await door.transact(lambda connection: connection.execute(sa.text("CREATE TABLE numbers (number)")))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(3):
        with pytest.raises(Unavailable, match="locked"):
            await door.transact(insert(1))
    other.execute("ROLLBACK")
    other.close()
    await door.transact(insert(2))
    assert await door.read(numbers) == [2]
    door.close()


def test_database_time_does_not_jump_with_the_clock() -> None:
    class Jumping(ManualClock):
        jump_ms = 0

        def wall_ms(self) -> int:
            return super().wall_ms() + self.jump_ms

    clock = Jumping()
    now_ms = DatabaseTime(clock)
    begun = now_ms()
    clock.jump_ms = -86_400_000
    clock.advance(5)
    assert now_ms() == begun + 5000
