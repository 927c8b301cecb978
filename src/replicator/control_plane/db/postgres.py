"""Postgres behind the transaction door: one thread that writes in the turn, and a few that read.

Every read is a REPEATABLE READ, READ ONLY transaction, whose snapshot is taken by its first statement: it sees
every unit committed before it began, and no writer disturbs it.

Nothing waits for ever. The server bounds what it does for a connection (a transaction that idles for 2 s, as
that of a stopped process does, is ended, and with it its turn); a watchdog cuts connections to a server that
does not answer; and a caller is answered within `CALLER_S` whatever happens, the resolution of names included.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.types.numeric import Int8Dumper
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from replicator.control_plane.db import turn
from replicator.control_plane.db.door import (
    READERS,
    Answer,
    Measures,
    Reading,
    Transaction,
    Work,
    Writing,
    refused,
)
from replicator.control_plane.db.postgres_errors import is_conflict, is_forbidden_write, is_lost, text_of
from replicator.control_plane.db.watchdog import Watchdog
from replicator.kernel.errors import InvalidRequest, Unavailable

CALLER_S = 30.0
"""Within this a caller has an answer, whatever hangs."""
READ_S = 10.0
"""How long one try of a read may take before its connection is cut."""
_CONNECT_S = 5
_IDLE_WRITER_MS = 2_000
_LOCK_MS = 8_000
_STATEMENT_MS = 10_000
_BEGIN_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
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
    return parsed


def open_engine(
    url: sa.URL,
    *,
    idle_ms: int,
    statement_ms: int = _STATEMENT_MS,
    lock_ms: int = _LOCK_MS,
    isolation_level: Any = "AUTOCOMMIT",
    hold: Callable[[Any], None] = lambda _: None,
    pooled: bool = False,
) -> sa.Engine:
    """An engine whose connections are bounded by the server; `hold` is given each as it is opened.

    With AUTOCOMMIT the code begins and ends transactions itself, in messages that hold more than that.
    """
    bounds = {
        "idle_in_transaction_session_timeout": idle_ms,
        "lock_timeout": lock_ms,
        "statement_timeout": statement_ms,
    }
    options = " ".join([*(f"-c {name}={value}" for name, value in bounds.items()), _asked_options(url)])
    arguments = {
        "connect_timeout": _CONNECT_S,
        "application_name": "replicator control plane",
        "client_encoding": "utf8",
        **_KEEPALIVE,
        **{name: value for name, value in url.query.items() if name != "options"},
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
        url,
        creator=connect,
        isolation_level=isolation_level,
        use_native_hstore=False,
        execution_options={"compiled_cache": _COMPILED},
        **(
            {"poolclass": QueuePool, "pool_size": READERS, "max_overflow": 0}
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
        self._revision = revision
        self._now_ms = now_ms
        self._watchdog = Watchdog()
        hold = self._watchdog.hold
        self._writing_engine = open_engine(url, idle_ms=_IDLE_WRITER_MS, hold=hold)
        self._reading_engine = open_engine(url, idle_ms=round(READ_S * 1000), hold=hold, pooled=True)
        turn.watch_for_writes(self._writing_engine)
        self._writer = turn.TurnWriter(
            self._writing_engine,
            name=writer,
            watchdog=self._watchdog,
            revision=revision,
            measures=measures or Measures(),
            now_ms=now_ms,
        )
        self._reading = Reading()
        self._writing = Writing(self._writer.commit)

    async def transact(self, work: Work[Answer]) -> Answer:
        """What `work` returns, once it is durable; see `ports.Database`."""
        return await self._writing.run(work, within_s=CALLER_S)

    async def read(self, work: Work[Answer]) -> Answer:
        """What `work` returns from a consistent view."""
        accepted_s = time.monotonic()
        return await self._reading.run(
            lambda: self._read(work, accepted_s + turn.ANSWER_S), within_s=CALLER_S
        )

    def close(self) -> None:
        """Finish what was accepted, unless the server is away, then let go of it. Blocks until then."""
        self._reading.refuse()
        self._writer.end()
        self._writing.close()
        self._reading.close()
        self._writer.close()
        self._writing_engine.dispose()
        self._reading_engine.dispose()
        self._watchdog.close()

    def _read(self, work: Work[Answer], until_s: float) -> Answer:
        pause_s = 0.0
        while True:
            try:
                with self._watchdog.limit(READ_S):
                    return self._read_once(work)
            except (DBAPIError, psycopg.Error) as error:
                if is_forbidden_write(error) or not (is_lost(error) or is_conflict(error)):
                    raise (
                        refused(error) if isinstance(error, DBAPIError) else Unavailable(text_of(error))
                    ) from error
                if time.monotonic() + pause_s > until_s or self._reading.closed:
                    raise Unavailable(
                        f"the control plane's database is not available: {text_of(error)}"
                    ) from error
            time.sleep(pause_s)
            pause_s = min(1.0, 0.02 + pause_s * random.uniform(1.5, 2))  # noqa: S311 - no secret

    def _read_once(self, work: Work[Answer]) -> Answer:
        with self._reading_engine.connect() as connection:
            raw = turn.raw_of(connection)
            self._watchdog.hold(raw)
            try:
                return work(self._begin_read(connection, raw))
            except (DBAPIError, psycopg.Error) as error:
                if is_lost(error):
                    connection.invalidate()
                raise
            finally:
                if not raw.closed:
                    # Not ROLLBACK, at which the driver forgets the statements that it has prepared.
                    raw.execute("COMMIT", prepare=False)

    def _begin_read(self, connection: sa.Connection, raw: turn.Raw) -> Transaction:
        begun = raw.execute(f"{_BEGIN_READ}; {turn.FACTS}", prepare=False)
        begun.nextset()
        facts = turn.facts_of(begun.fetchone(), self._now_ms)
        if facts.revision != self._revision:
            raise turn.newer_release(facts.revision, self._revision)
        return Transaction(connection=connection, now_ms=facts.now_ms, control_plane=facts.control_plane)


def _asked_options(url: sa.URL) -> str:
    asked = url.query.get("options", "")
    return asked if isinstance(asked, str) else " ".join(asked)
