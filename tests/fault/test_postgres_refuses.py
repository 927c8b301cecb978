"""The server answers, and what it says is no: whoever asks hears why at once, and the proxy that it must not ask here."""

from __future__ import annotations

import asyncio
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from replicator.control_plane.db import postgres, turn
from replicator.control_plane.db.database import SqlDatabase, open_database
from replicator.control_plane.db.migrate import newest_revision
from replicator.kernel.errors import StoreFailed, Unavailable
from replicator.runtime.clock import SystemClock
from replicator.testing.database_contract import count_up, tries
from replicator.testing.postgres import missing_for_postgres
from replicator.testing.postgres_databases import shared_server
from replicator.testing.processes import control_plane_process
from replicator.testing.waiting import wait_until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(missing_for_postgres() is not None, reason=missing_for_postgres() or ""),
]


def opened(url: str) -> closing[SqlDatabase]:
    return closing(open_database(url, clock=SystemClock(), on_events=lambda _: None))


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


async def until_ready(database: SqlDatabase) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await database.check()
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                return


async def test_a_process_whose_server_only_reads_is_not_ready(url: str) -> None:
    server, name = shared_server(), name_of(url)
    with opened(url) as database:
        assert await database.check() == newest_revision()
        server.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        server.terminate_backends(name)
        with pytest.raises(Unavailable, match=r"cannot write.*read-only standby.*name the primary"):
            await database.check()
        assert await database.read(tries) == 0
        server.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        server.terminate_backends(name)
        await until_ready(database)
        assert await database.transact(count_up) == 1


async def test_a_process_that_reads_and_cannot_write_is_not_ready_until_it_can(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader has the only connection that its role is given."""
    monkeypatch.setattr(postgres, "FAILING_S", 0.0)
    monkeypatch.setattr(turn, "ANSWER_S", 0.5)
    server, name = shared_server(), name_of(url)
    role = f"role_of_{name}"
    server.sql(f"CREATE ROLE {role} LOGIN")
    for what in ("TABLES", "SEQUENCES"):
        server.sql(f"GRANT ALL ON ALL {what} IN SCHEMA public TO {role}", database=name)
    with opened(sa.make_url(url).set(username=role).render_as_string(hide_password=False)) as database:
        assert await database.check() == newest_revision()
        server.sql(f"ALTER ROLE {role} CONNECTION LIMIT 1")
        with pytest.raises(Unavailable, match="too many connections"):
            await database.transact(count_up)
        with pytest.raises(Unavailable, match=r"cannot write.*too many connections"):
            await database.check()
        server.sql(f"ALTER ROLE {role} CONNECTION LIMIT -1")
        await until_ready(database)


async def test_a_database_that_is_gone_is_said_at_once_and_with_advice(url: str) -> None:
    with opened(url) as database:
        await database.transact(count_up)
        shared_server().drop_database(name_of(url))
        async with asyncio.timeout(15):  # less than what a server that is away is waited for
            for asked in (database.transact(count_up), database.read(tries), database.check()):
                with pytest.raises(Unavailable, match=r"does not exist; create what is missing"):
                    await asked


async def test_a_database_that_is_another_one_is_not_used(url: str) -> None:
    with opened(url) as database:
        await database.transact(count_up)
        shared_server().sql("UPDATE control_plane SET id = 'another'", database=name_of(url))
        for asked in (database.transact(count_up), database.read(tries)):
            with pytest.raises(StoreFailed, match=r"another one now.*start this control plane again"):
                await asked


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["UPDATE alembic_version SET version_num = '9999'"], "another release has migrated it"),
        (["DROP SCHEMA public CASCADE", "CREATE SCHEMA public"], "the tables of the database are gone"),
        (["DELETE FROM turn"], "the table `turn` of the database is empty"),
    ],
)
def test_a_process_whose_database_was_changed_under_it_ends_and_says_why(
    url: str, tmp_path: Path, statements: list[str], reason: str
) -> None:
    """Whichever of its duties or requests finds out."""
    settings = {"REPLICATOR_CONTROL_PLANE_DATABASE_URL": url}
    with control_plane_process(tmp_path, settings=settings) as plane:
        for statement in statements:
            shared_server().sql(statement, database=name_of(url))
        with suppress(httpx.TransportError):  # it may have ended already
            answer = httpx.delete(f"{plane.url}/nodes/node1", trust_env=False, timeout=30)
            assert answer.status_code == 503
        wait_until(lambda: reason in _last_line(plane.log), "it says why it ends", timeout_s=30)
        assert "the log says why" not in plane.log.read_text()
        assert "Traceback" not in plane.log.read_text()


def _last_line(log: Path) -> str:
    lines = log.read_text().splitlines()
    return lines[-1] if lines and lines[-1].startswith("replicator control-plane: ") else ""
