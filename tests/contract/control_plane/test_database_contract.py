"""Every database of the control plane keeps the promises of its port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from replicator.control_plane.db import migrate
from replicator.control_plane.db.database import SqlDatabase, open_database
from replicator.control_plane.ports import Event, Unit
from replicator.kernel.errors import InvalidRequest, StoreFailed, Unavailable
from replicator.runtime.clock import SystemClock
from replicator.testing.clock import FrozenClock
from replicator.testing.database_contract import (
    ConcurrentDatabaseContract,
    DatabaseContract,
    Stage,
    add,
    count_up,
    names,
    tries,
)
from replicator.testing.memory_database import MemoryDatabase
from replicator.testing.postgres import GUARDED, missing_for_postgres
from replicator.testing.postgres_databases import empty_database, migrated_database, shared_server

pytestmark = pytest.mark.anyio

needs_postgres = pytest.mark.skipif(missing_for_postgres() is not None, reason=missing_for_postgres() or "")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestMemoryDatabase(DatabaseContract):
    @pytest.fixture
    async def stage(self) -> Stage:
        told: list[Event] = []
        database = MemoryDatabase(FrozenClock(), on_events=told.extend)
        return Stage(database, database, told)


class TestSqlite(ConcurrentDatabaseContract):
    @pytest.fixture
    async def stage(self, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Stage]:
        told: list[Event] = []
        url = f"sqlite:///{tmp_path}/contract.sqlite"
        with closing(open_database(url, clock=SystemClock(), on_events=told.extend)) as database:
            yield Stage(database, database, told)


@pytest.fixture
def url() -> Iterator[str]:
    with migrated_database() as url:
        yield url


def opened(url: str, told: list[Event] | None = None) -> closing[SqlDatabase]:
    """The database as a process has it."""
    events = [] if told is None else told
    return closing(open_database(url, clock=SystemClock(), on_events=events.extend))


@needs_postgres
class TestPostgres(ConcurrentDatabaseContract):
    @pytest.fixture
    async def stage(self, url: str, anyio_backend: str) -> AsyncIterator[Stage]:
        told: list[Event] = []
        with opened(url, told) as first, opened(url) as second:
            yield Stage(first, second, told)

    async def test_what_was_accepted_before_the_end_is_done(self, url: str) -> None:
        with opened(url) as database:
            accepted = [asyncio.create_task(database.transact(count_up)) for _ in range(500)]
            await asyncio.sleep(0)
            await asyncio.to_thread(database.close)
            assert sorted(await asyncio.gather(*accepted)) == list(range(1, 501))
            with pytest.raises(Unavailable, match="shutting down"):
                await database.transact(count_up)
            with pytest.raises(Unavailable):
                await database.read(tries)

    async def test_what_one_replica_wakes_the_others_hear_of(self, stage: Stage) -> None:
        heard: asyncio.Queue[str] = asyncio.Queue()

        def follow(topics: object) -> None:
            for topic in topics:  # type: ignore[attr-defined]
                heard.put_nowait(topic)

        def wake(topic: str) -> object:
            return lambda unit: unit.note(Event(name="test.woken", wakes=(topic, topic)))

        assert isinstance(stage.second, SqlDatabase)
        following = asyncio.create_task(stage.second.follow_wakes(follow))
        await stage.second.read(tries)
        async with asyncio.timeout(30):
            while heard.empty():  # it begins with what is woken after it has begun
                await stage.first.transact(wake("begin"))  # type: ignore[arg-type]
                await asyncio.sleep(0.05)
            await stage.second.transact(wake("own"))  # type: ignore[arg-type]
            await stage.first.transact(wake("node1"))  # type: ignore[arg-type]
            while (topic := await heard.get()) == "begin":
                pass
        following.cancel()
        assert topic == "node1"
        assert heard.empty()

    async def test_readers_cannot_write(self, stage: Stage) -> None:
        def write(unit: Unit) -> None:
            unit.jobs.counts()
            unit.nodes.delete(names(unit)[0])  # type: ignore[arg-type]
            names(unit)

        await stage.first.transact(add("node1"))
        with pytest.raises(Unavailable, match="read-only"):
            await stage.first.read(write)


@needs_postgres
def test_processes_that_start_at_once_on_an_empty_database_all_come_up() -> None:
    found: list[SqlDatabase | Exception] = []

    def start(url: str) -> None:
        try:
            found.append(open_database(url, clock=SystemClock(), on_events=lambda _: None))
        except Exception as error:  # noqa: BLE001 - the assertion shows it
            found.append(error)

    with empty_database() as url:
        threads = [threading.Thread(target=start, args=(url,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [type(each) for each in found] == [SqlDatabase] * 3, found
        for each in found:
            assert isinstance(each, SqlDatabase)
            each.close()


@needs_postgres
async def test_a_process_that_a_newer_release_has_overtaken_says_so(url: str) -> None:
    with opened(url) as database:
        await database.transact(count_up)
        name = url.rpartition("/")[2]
        shared_server().sql("UPDATE alembic_version SET version_num = '9999'", database=name)
        with pytest.raises(StoreFailed, match=r"9999.*another release"):
            await database.transact(count_up)
        with pytest.raises(StoreFailed, match="9999"):
            await database.read(tries)
    with pytest.raises(StoreFailed, match=r"9999.*newer release"):
        open_database(url, clock=SystemClock(), on_events=lambda _: None)


@needs_postgres
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"database": "nowhere"}, r"does not exist.*create what is missing"),
        ({"username": "stranger"}, r"does not exist.*create what is missing"),
        ({"username": GUARDED, "password": "wrong-one"}, r"password authentication failed.*check the user"),
        ({"username": GUARDED}, r"permission denied.*grant"),
    ],
)
def test_what_keeps_the_database_from_being_used_is_said_without_the_password(
    change: dict[str, str], words: str
) -> None:
    with empty_database() as url:
        wrong = sa.make_url(url).set(**change).render_as_string(hide_password=False)  # type: ignore[arg-type]
        with pytest.raises(StoreFailed, match=words) as failed:
            open_database(wrong, clock=SystemClock(), on_events=lambda _: None)
    assert "wrong-one" not in str(failed.value)
    assert "correct" not in str(failed.value)


def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "START_S", 0.1)
    with pytest.raises(Unavailable, match="refused"):
        open_database("postgresql://a:secret@127.0.0.1:1/b", clock=SystemClock(), on_events=lambda _: None)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://host",
        "postgresql+asyncpg://a:secret@b/c",
        "postgresql://a:b@c:secret/d",
        "postgresql://a:secret@127.0.0.1/d?port=1&port=2",
        "postgresql://a:secret@/d?host=one,two&port=1,2,3",
        "postgresql://a:secret@/d?host=one&port=x",
    ],
)
def test_a_url_of_postgres_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="write postgresql://") as refused:
        open_database(url, clock=SystemClock(), on_events=lambda _: None)
    assert "secret" not in str(refused.value)


@needs_postgres
@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
async def test_every_spelling_of_the_scheme_works(url: str, scheme: str) -> None:
    with opened(f"{scheme}://{url.partition('://')[2]}") as database:
        assert await database.check() == migrate.newest_revision()


@needs_postgres
def test_the_newest_supported_server_is_asked_for(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(migrate, "SERVER_VERSION_MIN", 99)
    with pytest.raises(StoreFailed, match=r"99 or newer is needed"):
        open_database(url, clock=SystemClock(), on_events=lambda _: None)
    assert shared_server().sql("SELECT 1") == [(1,)]
