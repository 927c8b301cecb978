"""Something between a control plane and Postgres stands still: nothing else does, and everybody hears in time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from typing import Any

import pytest

from replicator.control_plane.db import door, postgres, turn
from replicator.control_plane.db.database import SqlDatabase, open_database
from replicator.control_plane.db.door import READERS, Measures, Transaction, Waiting, watch_for_writes
from replicator.control_plane.db.migrate import newest_revision
from replicator.control_plane.db.postgres_facts import Known, raw_of
from replicator.control_plane.db.watchdog import Watchdog
from replicator.control_plane.ports import Event, Unit
from replicator.kernel.errors import Unavailable
from replicator.runtime.clock import SystemClock
from replicator.testing.database_contract import count_up, names, tries
from replicator.testing.postgres import missing_for_postgres
from replicator.testing.postgres_databases import shared_server
from replicator.testing.postgres_proxy import PostgresProxy

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(missing_for_postgres() is not None, reason=missing_for_postgres() or ""),
]


@pytest.fixture
def proxy() -> Iterator[PostgresProxy]:
    with closing(PostgresProxy(shared_server().port)) as proxy:
        yield proxy


def opened(url: str, told: list[Event] | None = None) -> closing[SqlDatabase]:
    events = [] if told is None else told
    return closing(open_database(url, clock=SystemClock(), on_events=events.extend))


def engine_of(url: str) -> Any:
    server = postgres.postgres_url(url)
    assert server is not None
    return postgres.open_engine(server, idle_ms=2000)


async def test_a_process_that_takes_no_answer_in_its_turn_loses_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server sends, so its transaction is not idle, and no statement of it can time out."""
    monkeypatch.setattr(postgres, "_SEND_MS", 1000)
    connection = engine_of(url).connect()
    raw = raw_of(connection)
    raw.execute(turn.BEGIN_TURN, prepare=False)
    raw.pgconn.send_query(b"SELECT repeat('x', 1000) FROM generate_series(1, 40000)")
    raw.pgconn.flush()
    with opened(url) as database:
        assert await database.transact(count_up) == 1
    raw.close()
    connection.invalidate()


async def test_slow_reads_keep_nobody_from_being_ready_or_from_being_woken(url: str) -> None:
    leave, woken = threading.Event(), asyncio.Event()
    with opened(url) as slow, opened(url) as other:
        reads = [asyncio.create_task(slow.read(lambda _: leave.wait(8))) for _ in range(2 * READERS)]
        following = asyncio.create_task(slow.follow_wakes(lambda _: woken.set()))
        try:
            assert await slow.check() == newest_revision()
            async with asyncio.timeout(7):
                while not woken.is_set():
                    await other.transact(lambda unit: unit.note(Event(name="test.woken", wakes=("node1",))))
                    await asyncio.sleep(0.05)
            assert not any(read.done() for read in reads)
        finally:
            leave.set()
            following.cancel()
        assert await asyncio.gather(*reads) == [True] * 2 * READERS


async def test_wakes_are_followed_though_their_numbers_begin_anew(url: str) -> None:
    """As after a fail-over to a standby without the last commits."""
    heard: set[str] = set()

    async def wake_until_heard(topic: str) -> None:
        async with asyncio.timeout(30):
            while topic not in heard:
                await first.transact(lambda unit: unit.note(Event(name="test.woken", wakes=(topic,))))
                await asyncio.sleep(0.25)

    with opened(url) as first, opened(url) as second:
        for _ in range(200):  # so that the numbers after the fail-over do not reach these
            await first.transact(lambda unit: unit.note(Event(name="test.woken", wakes=("old",))))
        following = asyncio.create_task(second.follow_wakes(heard.update))
        await wake_until_heard("before")
        shared_server().sql("TRUNCATE wakes RESTART IDENTITY", database=url.rpartition("/")[2])
        await wake_until_heard("after")
        following.cancel()


async def test_events_of_a_commit_that_nobody_knew_of_are_told_once_it_is_known(
    url: str, proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Event] = []
    monkeypatch.setattr(turn, "ANSWER_S", 1.0)
    monkeypatch.setattr(turn, "_ATTEMPT_LEAST_S", 30.0)

    def take_all_the_time(unit: Unit) -> None:
        begun_s = time.monotonic()
        count_up(unit)
        unit.note(Event(name="test.late"))
        while time.monotonic() < begun_s + turn.ANSWER_S:
            time.sleep(0.01)

    with opened(proxy.url(url), told) as database:
        await database.read(tries)
        proxy.cut_next_commit("after")
        with pytest.raises(Unavailable, match="may have taken effect"):
            await database.transact(take_all_the_time)
        assert told == []
        monkeypatch.setattr(turn, "ANSWER_S", 25.0)
        assert await database.transact(count_up) == 2
        assert await database.transact(count_up) == 3
    assert [event.name for event in told] == ["test.late"]


async def test_a_unit_whose_time_is_over_takes_no_younger_one_with_it(url: str, proxy: PostgresProxy) -> None:
    loop, now_s = asyncio.get_running_loop(), time.monotonic()
    old, young = (
        Waiting(_one, Future(), loop, accepted_s) for accepted_s in (now_s - turn.ANSWER_S + 0.5, now_s)
    )
    engine = engine_of(proxy.url(url))
    watch_for_writes(engine)
    with closing(Watchdog()) as watchdog:
        writer = turn.TurnWriter(
            engine, name="writer", watchdog=watchdog, known=Known(newest_revision()), measures=Measures()
        )
        proxy.refuse()
        committing = asyncio.create_task(asyncio.to_thread(writer.commit, [old, young]))
        with pytest.raises(Unavailable, match="nothing was done"):
            await asyncio.wrap_future(old.answer)
        proxy.accept()
        assert await asyncio.wrap_future(young.answer) == 1
        await committing
        writer.close()


async def test_the_end_does_not_wait_for_a_server_that_hangs(
    url: str, proxy: PostgresProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "UNITS_PER_COMMIT_MAX", 1)
    monkeypatch.setattr(turn, "ENDING_S", 0.5)
    database = open_database(proxy.url(url), clock=SystemClock(), on_events=lambda _: None)
    await database.transact(count_up)
    proxy.hang()
    units = [asyncio.create_task(database.transact(count_up)) for _ in range(30)]
    reads = [asyncio.create_task(database.read(names)) for _ in range(30)]
    await asyncio.sleep(0)
    async with asyncio.timeout(20):  # one unit alone would be waited for longer
        await asyncio.to_thread(database.close)
        answers = await asyncio.gather(*units, *reads, return_exceptions=True)
    proxy.resume()
    assert all(isinstance(each, Unavailable | asyncio.CancelledError) for each in answers), answers


def _one(transaction: Transaction) -> int:
    return int(transaction.connection.exec_driver_sql("SELECT 1").scalar_one())
