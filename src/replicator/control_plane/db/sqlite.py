"""SQLite behind the transaction door.

One thread writes. It takes every unit that is waiting, runs each in a savepoint of its own inside one
BEGIN IMMEDIATE transaction, and commits: one sync of the disk for all of them. A unit that raises undoes
its savepoint and nothing else; callers are answered only after the commit. Readers run in a few threads on
`query_only` connections, each in one deferred transaction, which in WAL mode is a consistent view that no
writer disturbs. There is one writer per file, so `database is locked` cannot happen.

The database has its own time: the wall clock when it was opened, carried on by the monotonic clock. It
does not jump when somebody sets the clock, and so leases do not either.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, QueuePool

from replicator.kernel.clock import Clock
from replicator.kernel.errors import ReplicatorError, Unavailable

Answer = TypeVar("Answer")

UNITS_WAITING_MAX = 4096
UNITS_PER_COMMIT_MAX = 256
READERS = 4
READS_WAITING_MAX = 1024
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
    pooled = {"poolclass": NullPool} if writes else {"poolclass": QueuePool, "pool_size": READERS}
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


@dataclass(frozen=True, slots=True)
class _Waiting:
    work: Callable[[sa.Connection], Any]
    answer: Future[Any]


@dataclass(frozen=True, slots=True)
class _Done:
    answer: Future[Any]
    value: Any = None
    error: Exception | None = None


class SqliteDoor:
    """`transact` and `read` for synchronous, re-runnable work on a connection.

    `on_commit` is called in the writer's thread with the number of units of each commit.
    """

    def __init__(
        self, path: str, *, now_ms: Callable[[], int], on_commit: Callable[[int], None] = lambda _: None
    ) -> None:
        self._writing = open_engine(path, now_ms=now_ms, writes=True)
        self._reading = open_engine(path, now_ms=now_ms, writes=False)
        self._on_commit = on_commit
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(UNITS_WAITING_MAX)
        self._reads_waiting = 0
        self._closed = False
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="database-reader")
        self._writer = threading.Thread(target=self._write_until_closed, name="database-writer")
        self._writer.start()

    async def transact(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        """What `work` returns, once it is durable; see `ports.Database`.

        A caller that is cancelled leaves its unit undone if it had not begun, and done otherwise.
        """
        answer: Future[Answer] = Future()
        if self._closed:
            raise Unavailable("the control plane is shutting down")
        try:
            self._waiting.put_nowait(_Waiting(work, answer))
        except queue.Full as error:
            raise Unavailable("the control plane has too much to do; try again later") from error
        return await asyncio.wrap_future(answer)

    async def read(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        """What `work` returns from a consistent view."""
        if self._closed or self._reads_waiting >= READS_WAITING_MAX:
            raise Unavailable("the control plane has too much to do; try again later")
        self._reads_waiting += 1
        try:
            return await asyncio.wrap_future(self._readers.submit(self._read, work))
        finally:
            self._reads_waiting -= 1

    def close(self) -> None:
        """Finish what was accepted, then let go of the file. Blocks until then."""
        self._closed = True
        self._waiting.put(None)
        self._writer.join()
        self._readers.shutdown(cancel_futures=True)
        self._writing.dispose()
        self._reading.dispose()

    def _read(self, work: Callable[[sa.Connection], Answer]) -> Answer:
        try:
            with self._reading.connect() as connection, connection.begin():
                return work(connection)
        except DBAPIError as error:
            raise _unavailable(error) from error

    def _write_until_closed(self) -> None:
        with self._writing.connect() as connection:
            while (batch := self._next_batch()) is not None:
                self._commit(connection, batch)

    def _next_batch(self) -> list[_Waiting] | None:
        first = self._waiting.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < UNITS_PER_COMMIT_MAX:
            try:
                unit = self._waiting.get_nowait()
            except queue.Empty:
                break
            if unit is None:
                self._waiting.put(None)  # nothing is accepted any more, so there is room
                break
            batch.append(unit)
        return [unit for unit in batch if unit.answer.set_running_or_notify_cancel()]

    def _commit(self, connection: sa.Connection, batch: list[_Waiting]) -> None:
        try:
            with connection.begin():
                done = [_run(connection, unit) for unit in batch]
        except Exception as error:  # noqa: BLE001 - every caller of the batch is told
            reason = _unavailable(error) if isinstance(error, DBAPIError) else error
            for unit in batch:
                unit.answer.set_exception(reason)
            return
        self._on_commit(len(done))
        for each in done:
            if each.error is None:
                each.answer.set_result(each.value)
            else:
                each.answer.set_exception(each.error)


def _run(connection: sa.Connection, unit: _Waiting) -> _Done:
    savepoint = connection.begin_nested()
    try:
        value = unit.work(connection)
    except Exception as error:  # noqa: BLE001 - the caller is told
        # Where SQLite has undone the whole transaction (disk full, I/O error) this raises, and no unit counts.
        savepoint.rollback()
        return _Done(unit.answer, error=_unavailable(error) if isinstance(error, DBAPIError) else error)
    savepoint.commit()
    return _Done(unit.answer, value)


def _unavailable(error: DBAPIError) -> ReplicatorError:
    unavailable = Unavailable(f"the control plane's database refuses: {error.orig}")
    unavailable.__cause__ = error
    return unavailable
