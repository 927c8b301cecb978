"""SQLite behind the transaction door.

One thread writes. It takes every unit that is waiting, runs one after another inside one BEGIN IMMEDIATE transaction,
and commits: one sync of the disk for all of them. A unit's first statement that writes follows a savepoint, and
a unit that raises undoes that and nothing else. What units leave to be written together (`shared_writes`) and cannot be
written is the fault of one of them: they run again one by one. Callers are answered only after the commit. Readers run in a few threads on
`query_only` connections, each in one deferred transaction, which in WAL mode is a consistent view that no
writer disturbs. There is one writer per file, so `database is locked` cannot happen.

The database has its own time: the wall clock when it was opened, carried on by the monotonic clock. It
does not jump when somebody sets the clock, and so leases do not either.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, QueuePool

from replicator.control_plane.db.door import (
    READERS,
    WRITTEN,
    Answer,
    Done,
    Measures,
    Reading,
    Transaction,
    Waiting,
    Work,
    Writing,
    refused,
    tell_all,
    watch_for_writes,
)
from replicator.control_plane.db.shared_writes import Shared
from replicator.kernel.clock import Clock

_BUSY_TIMEOUT_MS = 10_000
_CACHE_KIB = 32 * 1024

# Statements as text, for the writer and the readers alike; as many as the code has.
_COMPILED: dict[Any, Any] = {}


class DatabaseTime:
    """Database time in milliseconds; see the module."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ms = clock.wall_ms() - clock.monotonic_s() * 1000

    def __call__(self) -> int:
        """Now."""
        return round(self._clock.monotonic_s() * 1000 + self._offset_ms)


def open_engine(path: str, *, now_ms: Callable[[], int], writes: bool) -> sa.Engine:
    """An engine on the file at `path`; its transactions begin with the lock that their purpose needs."""
    pooled = {"poolclass": NullPool} if writes else {"poolclass": QueuePool, "pool_size": READERS + 1}
    engine = sa.create_engine(
        sa.URL.create("sqlite+pysqlite", database=path),
        execution_options={"compiled_cache": _COMPILED},
        connect_args={"check_same_thread": False, "timeout": _BUSY_TIMEOUT_MS / 1000},
        **pooled,
    )

    def prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver must not begin and commit by itself
        connection.create_function("now_ms", 0, now_ms)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        if writes:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        else:
            connection.execute("PRAGMA query_only = ON")

    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", begin)
    return engine


class SqliteDoor:
    """`Door` to one file, whose time is `now_ms`."""

    def __init__(self, path: str, *, now_ms: Callable[[], int], measures: Measures | None = None) -> None:
        self._writing_engine = open_engine(path, now_ms=now_ms, writes=True)
        watch_for_writes(self._writing_engine, _set_savepoint)
        self._reading_engine = open_engine(path, now_ms=now_ms, writes=False)
        self._now_ms = now_ms
        self._measures = measures or Measures()
        self._connection: sa.Connection | None = None
        self._reading, self._looking = Reading(), Reading(1)
        self._writing = Writing(self._commit)

    async def transact(self, work: Work[Answer]) -> Answer:
        """What `work` returns, once it is durable; see `ports.Database`.

        A caller that is cancelled leaves its unit undone if it had not begun, and done otherwise.
        """
        return await self._writing.run(work)

    async def read(self, work: Work[Answer]) -> Answer:
        """What `work` returns from a consistent view."""
        return await self._reading.run(lambda: self._read(work))

    async def look(self, work: Work[Answer]) -> Answer:
        """The same, on a thread and a connection that no other read holds up."""
        return await self._looking.run(lambda: self._read(work))

    async def check_writes(self) -> None:
        """See `Door`; a file that can be read is taken for one that can be written."""

    def hurry(self) -> None:
        """See `Door`: a file is never away."""

    def close(self) -> None:
        """Finish what was accepted, then let go of the file. Blocks until then."""
        for reading in (self._reading, self._looking):
            reading.refuse()
        self._writing.close()
        for reading in (self._reading, self._looking):
            reading.close()
        if self._connection is not None:
            self._connection.close()
        self._writing_engine.dispose()
        self._reading_engine.dispose()

    def _read(self, work: Work[Answer]) -> Answer:
        try:
            with self._reading_engine.connect() as connection, connection.begin():
                return work(Transaction(connection=connection, now_ms=self._now_ms()))
        except DBAPIError as error:
            raise refused(error) from error

    def _commit(self, batch: list[Waiting]) -> None:
        shared = None
        try:
            if self._connection is None:
                self._connection = self._writing_engine.connect()
            shared = Shared(self._connection)
            with self._connection.begin():
                done = [_run(shared, unit, self._now_ms()) for unit in batch]
                shared.flush_others()
        except Exception as error:  # noqa: BLE001 - every caller of the batch is told
            if len(batch) > 1 and shared is not None and shared.failed:
                for unit in batch:
                    self._commit([unit])
                return
            reason = refused(error) if isinstance(error, DBAPIError) else error
            for unit in batch:
                unit.answer.set_exception(reason)
            return
        self._measures.on_commit(len(done))
        tell_all(done)


def _run(shared: Shared, unit: Waiting, now_ms: int) -> Done:
    connection = shared.connection
    connection.info[WRITTEN] = False
    try:
        transaction = Transaction(connection=connection, now_ms=now_ms, shared=shared)
        value = unit.work(transaction)
    except Exception as error:
        if shared.failed:
            raise
        if connection.info[WRITTEN]:
            # Where SQLite has undone the whole transaction (disk full, I/O error) this raises, and no unit counts.
            connection.exec_driver_sql("ROLLBACK TO unit")
            connection.exec_driver_sql("RELEASE unit")
            shared.forget()
        return Done(unit, error=refused(error) if isinstance(error, DBAPIError) else error)
    else:
        if connection.info[WRITTEN]:
            connection.exec_driver_sql("RELEASE unit")
        return Done(unit, value, then=tuple(transaction.then))
    finally:
        del connection.info[WRITTEN]


def _set_savepoint(connection: sa.Connection) -> None:
    driver: Any = connection.connection.driver_connection
    driver.execute("SAVEPOINT unit")
