"""Postgres behind the transaction door: one thread that writes in the turn, a few that read, and one that looks.

What looks has a connection of its own, which no slow read holds up: whether this process is ready, and what other
processes have woken.

Nothing waits for ever. The server bounds what it does for a connection (a transaction that idles for 2 s, as
that of a stopped process does, is ended, and with it its turn; so is one whose answer is not taken for `_SEND_MS`);
a watchdog cuts connections to a server that does not answer; and a caller is answered within `CALLER_S` whatever
happens, the resolution of names included.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.types.numeric import Int8Dumper
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool, QueuePool

from replicator.control_plane.db import turn
from replicator.control_plane.db.door import (
    READERS,
    Answer,
    Measures,
    Transaction,
    Work,
    Writing,
    watch_for_writes,
)
from replicator.control_plane.db.postgres_facts import Known
from replicator.control_plane.db.postgres_reads import WORK_S, Reader
from replicator.control_plane.db.watchdog import Watchdog
from replicator.kernel.errors import InvalidRequest, StoreFailed, Unavailable

CALLER_S = 30.0
"""Within this a caller has an answer, whatever hangs."""
FAILING_S = 3.0
"""A writer that has reached nothing for so long makes the process one that is not ready."""
_CONNECT_S = 5
_HURRY_S = 2.0
_IDLE_WRITER_MS = 2_000
_LOCK_MS = 8_000
_STATEMENT_MS = 10_000
_SEND_MS = 5_000
"""The server ends a connection that takes nothing of an answer for so long: no other bound of its own counts then."""
_STANDING = "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')"
_KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_DRIVERS = frozenset({"postgres", "postgresql", "postgresql+psycopg"})

# The driver warns of each connection that is lost; the door tells of those itself, once.
logging.getLogger("psycopg").setLevel(logging.ERROR)

# Statements as text, for the writer and the readers alike; as many as the code has.
_COMPILED: dict[Any, Any] = {}


def postgres_url(url: str) -> sa.URL | None:
    """`url` if it is one of Postgres; None if it is of anything else.

    Raises:
        InvalidRequest: it is of Postgres and lacks something, or asks for another driver.
    """
    scheme = url.partition("://")[0].lower()
    if not scheme.startswith("postgres"):
        return None
    if scheme not in _DRIVERS:
        raise InvalidRequest(f"'{scheme}' is not supported; write postgresql://user:password@host:5432/name")
    try:
        parsed = sa.make_url("postgresql+psycopg://" + url.partition("://")[2])
    except (ArgumentError, ValueError) as error:
        raise InvalidRequest(
            "this is not a database URL; write postgresql://user:password@host:5432/name, with special "
            "characters of the password percent-encoded"
        ) from error
    if not parsed.database:
        raise InvalidRequest(
            "the database URL names no database; write postgresql://user:password@host:5432/name"
        )
    _require_ports_for_hosts(parsed)
    return parsed


def open_engine(
    url: sa.URL,
    *,
    idle_ms: int,
    statement_ms: int = _STATEMENT_MS,
    lock_ms: int = _LOCK_MS,
    isolation_level: Any = "AUTOCOMMIT",
    hold: Callable[[Any], None] = lambda _: None,
    pooled: int = 0,
) -> sa.Engine:
    """An engine whose connections are bounded by the server; `hold` is given each as it is opened.

    It keeps as many as `pooled`, or none that is not used.

    With AUTOCOMMIT the code begins and ends transactions itself, in messages that hold more than that.
    """
    bounds = {
        "idle_in_transaction_session_timeout": idle_ms,
        "lock_timeout": lock_ms,
        "statement_timeout": statement_ms,
        "tcp_user_timeout": _SEND_MS,
        "tcp_keepalives_idle": 5,
        "tcp_keepalives_interval": 2,
        "tcp_keepalives_count": 3,
    }
    options = " ".join([*(f"-c {name}={value}" for name, value in bounds.items()), _asked_options(url)])
    arguments = {
        "connect_timeout": _CONNECT_S,
        "application_name": "replicator control plane",
        "client_encoding": "utf8",
        **_KEEPALIVE,
        **_asked(url),
        "options": options.strip(),
        **url.translate_connect_args(username="user", database="dbname"),
    }

    def connect() -> Any:
        connection = psycopg.connect(**arguments)
        connection.prepared_max = 500  # as many statements as the code has
        # Otherwise each size of a number makes another statement to be prepared.
        connection.adapters.register_dumper(int, Int8Dumper)
        hold(connection)
        return connection

    return sa.create_engine(
        sa.URL.create(url.drivername),
        creator=connect,
        isolation_level=isolation_level,
        use_native_hstore=False,
        execution_options={"compiled_cache": _COMPILED},
        **(
            {"poolclass": QueuePool, "pool_size": pooled, "max_overflow": 0}
            if pooled
            else {"poolclass": NullPool}
        ),
    )


class PostgresDoor:
    """`Door` to one database, which other processes may have doors to.

    `writer` names this one in `writers` and `wakes`; no other has or had that name. `revision` is the schema's.
    `now_ms` replaces the database's clock, in tests.
    """

    def __init__(
        self,
        url: sa.URL,
        *,
        writer: str,
        revision: str,
        measures: Measures | None = None,
        now_ms: Callable[[], int] | None = None,
    ) -> None:
        self._watchdog = Watchdog()
        hold, known = self._watchdog.hold, Known(revision, now_ms)
        self._writing_engine = open_engine(url, idle_ms=_IDLE_WRITER_MS, hold=hold)
        watch_for_writes(self._writing_engine)
        self._writer = turn.TurnWriter(
            self._writing_engine,
            name=writer,
            watchdog=self._watchdog,
            known=known,
            measures=measures or Measures(),
        )
        self._reader, self._looker = (
            Reader(
                open_engine(url, idle_ms=round(WORK_S * 1000), hold=hold, pooled=threads),
                threads=threads,
                watchdog=self._watchdog,
                known=known,
            )
            for threads in (READERS, 1)
        )
        self._probing: asyncio.Task[None] | None = None
        self._writing = Writing(self._writer.commit)

    async def transact(self, work: Work[Answer]) -> Answer:
        """What `work` returns, once it is durable; see `ports.Database`."""
        return await self._writing.run(work, within_s=CALLER_S)

    async def read(self, work: Work[Answer]) -> Answer:
        """What `work` returns from a consistent view."""
        return await self._reader.read(work)

    async def look(self, work: Work[Answer]) -> Answer:
        """The same, on a thread and a connection that no other read holds up."""
        return await self._looker.read(work)

    async def check_writes(self) -> None:
        """See `Door`. A writer that has failed for long is tried, for nobody else may come while this is not ready."""
        await self.look(_refuse_standby)
        since_s = self._writer.failing_since_s
        if since_s is None or time.monotonic() - since_s < FAILING_S:
            return
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe())
        raise Unavailable(f"this control plane cannot write to its database: {self._writer.failure}")

    async def _probe(self) -> None:
        with suppress(Unavailable, StoreFailed):  # whoever writes next is told
            await self.transact(lambda _: None)

    def hurry(self) -> None:
        """The process is about to end: wait no longer for a server that is away than a few seconds."""
        self._writer.end()
        self._watchdog.hurry(_HURRY_S)

    def close(self) -> None:
        """Finish what was accepted, unless the server is away, then let go of it. Blocks until then."""
        for reader in (self._reader, self._looker):
            reader.refuse()
        self._writer.end()
        self._writing.close()
        for reader in (self._reader, self._looker):
            reader.close()
        self._writer.close()
        self._writing_engine.dispose()
        self._watchdog.close()


def _refuse_standby(transaction: Transaction) -> None:
    is_standby, reads_only = transaction.connection.exec_driver_sql(_STANDING).one()
    if is_standby or reads_only == "on":
        raise Unavailable(
            "this control plane cannot write to its database: the server is a read-only standby; name the primary in "
            "--database-url"
        )


def _asked(url: sa.URL) -> dict[str, str]:
    """What the URL asks for after its `?`, but for options; what is named several times is a list."""
    return {
        name: value if isinstance(value, str) else ",".join(value)
        for name, value in url.query.items()
        if name != "options"
    }


def _require_ports_for_hosts(url: sa.URL) -> None:
    asked = _asked(url)
    hosts = len(asked.get("host", url.host or "").split(","))
    ports = asked["port"].split(",") if "port" in asked else []
    if len(ports) not in {0, 1, hosts} or not all(port == "" or port.isdecimal() for port in ports):
        raise InvalidRequest(
            f"the database URL names {hosts} hosts and {len(ports)} ports; write "
            "postgresql://user:password@/name?host=one,two&port=5432,5432"
        )


def _asked_options(url: sa.URL) -> str:
    asked = url.query.get("options", "")
    return asked if isinstance(asked, str) else " ".join(asked)
