"""The database server dies, hangs, or loses a connection at the worst moment: no unit is lost or done twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from replicator.cli.exits import ExitCode
from replicator.control_plane.db import door, postgres, postgres_reads, turn
from replicator.control_plane.db.database import SqlDatabase, open_database
from replicator.control_plane.db.door import Measures
from replicator.control_plane.ports import Unit
from replicator.kernel.errors import Unavailable
from replicator.runtime.clock import SystemClock
from replicator.testing.database_contract import add, count_up, names, tries
from replicator.testing.postgres import PostgresServer, missing_for_postgres
from replicator.testing.postgres_proxy import PostgresProxy, When
from replicator.testing.processes import control_plane_process

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(missing_for_postgres() is not None, reason=missing_for_postgres() or ""),
]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with closing(PostgresServer()) as server:
        yield server


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.url(server.new_database())


class Told:
    """What a door told of itself."""

    def __init__(self) -> None:
        self.outcomes: list[bool] = []
        self.reruns: list[str] = []
        self.measures = Measures(on_outcome=self.outcomes.append, on_rerun=self.reruns.append)


def opened(url: str, told: Told | None = None) -> closing[SqlDatabase]:
    measures = (told or Told()).measures
    return closing(open_database(url, clock=SystemClock(), on_events=lambda _: None, measures=measures))


async def count_all(database: SqlDatabase, units: int) -> list[int]:
    return sorted(await asyncio.gather(*(database.transact(count_up) for _ in range(units))))


async def test_server_is_killed_mid_batch_and_comes_back(server: PostgresServer, url: str) -> None:
    entered, leave = threading.Event(), threading.Event()

    def wait_in_the_turn(unit: Unit) -> int:
        counted = count_up(unit)
        entered.set()
        assert leave.wait(30)
        return counted

    told = Told()
    with opened(url, told) as database:
        assert await count_all(database, 10) == list(range(1, 11))
        held = asyncio.create_task(database.transact(wait_in_the_turn))
        await asyncio.to_thread(entered.wait, 30)
        others = asyncio.create_task(count_all(database, 10))
        server.kill()
        leave.set()
        server.start()
        assert sorted([await held, *await others]) == list(range(11, 22))
        assert await database.read(tries) == 21
    assert "connection" in told.reruns


async def test_connections_are_ended_by_the_operator_again_and_again(
    server: PostgresServer, url: str
) -> None:
    with opened(url) as database:
        name = url.rpartition("/")[2]
        for number in range(5):
            running = asyncio.create_task(count_all(database, 20))
            await asyncio.sleep(0.002 * number)
            await asyncio.to_thread(server.terminate_backends, name)
            assert await running == list(range(20 * number + 1, 20 * number + 21))
            assert await database.read(tries) == 20 * (number + 1)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_answer_to_a_commit_is_lost(server: PostgresServer, url: str, when: When) -> None:
    told = Told()
    with closing(PostgresProxy(server.port)) as proxy, opened(proxy.url(url), told) as database:
        await database.transact(count_up)
        for _ in range(3):
            proxy.cut_next_commit(when)
            await count_all(database, 7)
        assert await database.read(tries) == 22
    assert proxy.commits_cut == 3
    assert told.outcomes == [when == "after"] * 3


async def test_outcome_is_found_out_though_the_server_dies_as_well(server: PostgresServer, url: str) -> None:
    told = Told()
    with closing(PostgresProxy(server.port)) as proxy, opened(proxy.url(url), told) as database:
        await database.transact(count_up)
        proxy.cut_next_commit("after")
        running = asyncio.create_task(database.transact(count_up))
        while not proxy.commits_cut:
            await asyncio.sleep(0.005)
        server.kill()
        server.start()
        assert await running == 2
        assert await database.read(tries) == 2


async def test_replica_is_stopped_in_its_turn(url: str) -> None:
    """It holds up nobody for long, and what it does when it wakes takes effect after the others."""
    with opened(url) as database:
        await database.transact(count_up)
        with subprocess.Popen(
            [sys.executable, "-m", "replicator.testing.turn_holder", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            try:
                assert (await asyncio.to_thread(other.stdout.readline)).strip() == "taken 1"
                os.kill(other.pid, signal.SIGSTOP)
                assert await database.transact(count_up) == 2
                assert await database.transact(count_up) == 3
                os.kill(other.pid, signal.SIGCONT)
                said = await asyncio.to_thread(other.communicate, "\n", 60)
            finally:
                other.kill()
        assert "counted 4 2" in said[0]
        assert await database.read(tries) == 4


async def test_server_hangs(server: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody is told in time; what was told to be unavailable may be asked again."""
    monkeypatch.setattr(turn, "ANSWER_S", 1.5)
    monkeypatch.setattr(turn, "ATTEMPT_S", 1.0)
    monkeypatch.setattr(postgres_reads, "BEGIN_S", 0.5)
    with opened(url) as database:
        await database.transact(add("before"))
        server.pause()
        try:
            calls = [database.transact(add(f"node-{number}")) for number in range(5)]
            reads = [database.read(names) for _ in range(6)]
            answers = await asyncio.gather(*calls, *reads, return_exceptions=True)
        finally:
            server.resume()
        assert [type(each) for each in answers] == [Unavailable] * 11, answers
        monkeypatch.setattr(turn, "ANSWER_S", 25.0)
        monkeypatch.setattr(postgres_reads, "BEGIN_S", 30.0)
        for number in range(5):
            await database.transact(add(f"node-{number}"))
        assert await database.read(names) == ["before", *(f"node-{number}" for number in range(5))]


async def test_nothing_comes_back_from_the_server(
    server: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that swallows everything, also while a connection is made."""
    monkeypatch.setattr(turn, "ANSWER_S", 1.0)
    monkeypatch.setattr(postgres, "CALLER_S", 3.0)
    with closing(PostgresProxy(server.port)) as proxy, opened(proxy.url(url)) as database:
        await database.transact(count_up)
        proxy.hang()
        proxy.cut()
        with pytest.raises(Unavailable):
            await database.transact(count_up)
        with pytest.raises(Unavailable):
            await database.read(tries)
        proxy.resume()
        monkeypatch.setattr(turn, "ANSWER_S", 25.0)
        monkeypatch.setattr(postgres, "CALLER_S", 30.0)
        assert await database.transact(count_up) >= 2


@pytest.mark.parametrize("away", ["stopped", "hangs"])
def test_requests_are_answered_while_the_server_is_away_and_at_the_end_of_the_process(
    server: PostgresServer, url: str, away: str
) -> None:
    settings = {"REPLICATOR_CONTROL_PLANE_DATABASE_URL": url}
    with (
        tempfile.TemporaryDirectory() as folder,
        control_plane_process(Path(folder), settings=settings) as plane,
        closing(HTTPConnection("127.0.0.1", plane.port, timeout=30)) as reader,
        closing(HTTPConnection("127.0.0.1", plane.port, timeout=30)) as writer,
    ):
        server.stop() if away == "stopped" else server.pause()
        try:
            command = [sys.executable, "-m", "replicator.cli.main", "--control-plane", plane.url, "jobs"]
            asked = subprocess.run(command, capture_output=True, text=True, timeout=20)
            assert asked.returncode == ExitCode.UNAVAILABLE, asked.stderr
            assert "database" in asked.stderr
            reader.request("GET", "/jobs")
            writer.request("DELETE", "/nodes/node1")
            # It takes requests as they come, so it has those two once it has answered this one.
            httpx.get(f"{plane.url}/health", trust_env=False, timeout=30).raise_for_status()
            assert plane.stop() == 0
            assert [each.getresponse().status for each in (reader, writer)] == [503, 503]
        finally:
            server.start() if away == "stopped" else server.resume()
        assert "ASGI" not in plane.log.read_text()


async def test_queue_is_bounded_while_the_server_hangs(
    server: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "UNITS_WAITING_MAX", 4)
    monkeypatch.setattr(turn, "ANSWER_S", 1.0)
    with opened(url) as database:
        await database.transact(count_up)
        server.pause()
        try:
            calls = [database.transact(count_up) for _ in range(50)]
            answers = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            server.resume()
        assert all(isinstance(each, Unavailable) for each in answers)
        assert any("too much to do" in str(each) for each in answers)
