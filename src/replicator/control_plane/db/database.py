"""The control plane's database: opened, brought up to date, and used by units."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError

from replicator.control_plane.db import postgres, sqlite
from replicator.control_plane.db.door import Door, Measures, Transaction
from replicator.control_plane.db.lock import ProcessLock
from replicator.control_plane.db.migrate import (
    bring_up_to_date,
    bring_up_to_date_in_turn,
    newest_revision,
    revision_of,
)
from replicator.control_plane.db.unit import SqlUnit
from replicator.control_plane.db.wakes import newest_wake, wakes_after
from replicator.control_plane.ports import Event, Unit
from replicator.kernel.clock import Clock
from replicator.kernel.errors import InvalidRequest, StoreFailed, Unavailable

Answer = TypeVar("Answer")

WAKES_LOOK_S = 0.1
"""How often the wakes of other replicas are looked for."""
_MIGRATION_MS = 3_600_000
_MIGRATION_LOCK_MS = 10_000


class SqlDatabase:
    """`Database` through a door. `close` when nothing uses it any more.

    `on_events` is called on the event loop with the events of each unit that has become durable, whether its caller
    still waits or not, and before that hears. `writer` names
    this process among those that share the database, or is None where none can.
    """

    def __init__(
        self,
        door: Door,
        *,
        on_events: Callable[[Sequence[Event]], None],
        writer: str | None,
        let_go: Callable[[], None] = lambda: None,
    ) -> None:
        self._door = door
        self._on_events = on_events
        self._let_go = let_go
        self._closed = False
        self._failure: StoreFailed | None = None
        self.writer = writer

    async def transact(self, work: Callable[[Unit], Answer]) -> Answer:
        """See `ports.Database`."""

        def run(transaction: Transaction) -> Answer:
            unit = _unit_of(transaction)
            answer = work(unit)
            unit.leave()
            transaction.topics.update(topic for event in unit.noted for topic in event.wakes)
            transaction.then.append(partial(self._on_events, unit.noted))
            return answer

        with self._watching():
            return await self._door.transact(run)

    async def read(self, work: Callable[[Unit], Answer]) -> Answer:
        """See `ports.Database`."""
        with self._watching():
            return await self._door.read(lambda transaction: work(_unit_of(transaction)))

    async def check(self) -> str:
        """See `ports.Database`."""
        with self._watching():
            revision = await self._door.look(lambda transaction: revision_of(transaction.connection))
            if revision != newest_revision():
                raise Unavailable(
                    f"the database's schema is {revision}, this release needs {newest_revision()}"
                )
            await self._door.check_writes()
            return revision

    async def follow_wakes(self, on_wakes: Callable[[Sequence[str]], None]) -> None:
        """Tell `on_wakes` the topics that other processes wake, as they do, until cancelled.

        While the database does not answer nothing is told, and what was missed is told later. Returns at once
        where no other process can have the database.

        Raises:
            StoreFailed: this process must end, as anyone has found who used the database: another release has
                migrated it, or it is another one now.
        """
        last: int | None = None
        while self.writer is not None:
            if self._failure is not None:
                raise self._failure
            with suppress(Unavailable):
                last, topics = await self._door.look(partial(_woken, last, self.writer))
                if topics:
                    on_wakes(topics)
            await asyncio.sleep(WAKES_LOOK_S)

    def hurry(self) -> None:
        """The process is about to end: what waits for a server that is away waits a few seconds at most."""
        self._door.hurry()

    def close(self) -> None:
        """Finish what was accepted and let go of the database. Closing again does nothing."""
        if not self._closed:
            self._closed = True
            self._door.close()
            self._let_go()

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Remembers why the process must end, for `follow_wakes` to end it: who has found out may be any request."""
        try:
            yield
        except StoreFailed as error:
            self._failure = self._failure or error
            raise


def open_database(
    url: str,
    *,
    clock: Clock,
    on_events: Callable[[Sequence[Event]], None],
    measures: Measures | None = None,
    writer: str | None = None,
    now_ms: Callable[[], int] | None = None,
) -> SqlDatabase:
    """The database that `url` names, with the newest schema.

    `clock` carries the time of an SQLite file; Postgres has its own, which `now_ms` replaces in tests. `writer`
    is a name that no other process has or had.

    Raises:
        InvalidRequest: it is the URL of nothing that is supported.
        Conflict: another process has the file.
        StoreFailed: it cannot be opened, or it belongs to a newer release.
        Unavailable: the server does not answer.
    """
    server = postgres.postgres_url(url)
    if server is None:
        return open_file(sqlite_path(url), clock=clock, on_events=on_events, measures=measures)
    return _open_server(server, on_events, measures, writer or secrets.token_hex(8), now_ms)


def open_file(
    path: str,
    *,
    clock: Clock,
    on_events: Callable[[Sequence[Event]], None],
    measures: Measures | None = None,
) -> SqlDatabase:
    """The database in the SQLite file at `path`, which this process alone may use; see `open_database`."""
    # However it is named: a file that goes by two names would have two locks, and two logs of what is not in it yet.
    path = os.path.realpath(path)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        lock = ProcessLock(path + ".lock", guarded=path)
    except OSError as error:
        raise StoreFailed(f"cannot open the database {path}: {error.strerror}") from error
    try:
        door = _open_sqlite(path, clock, measures)
    except BaseException:
        lock.release()
        raise
    return SqlDatabase(door, on_events=on_events, writer=None, let_go=lock.release)


def sqlite_path(url: str) -> str:
    """The absolute path of the file that `url` names.

    Raises:
        InvalidRequest: it is not the URL of an SQLite file.
    """
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InvalidRequest(
            "this is not a database URL; write sqlite:////path/to/file or postgresql://user:password@host:5432/name"
        ) from error
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        raise InvalidRequest(
            "the control plane keeps its state in an SQLite file, sqlite:////path/to/file, or in Postgres, "
            "postgresql://user:password@host:5432/name"
        )
    return os.path.abspath(str(parsed.database))


def _woken(last: int | None, writer: str, transaction: Transaction) -> tuple[int, list[str]]:
    """What was woken after `last`, and up to which row was looked; at first only that."""
    if last is None:
        return newest_wake(transaction.connection), []
    return wakes_after(transaction.connection, last, writer=writer)


def _unit_of(transaction: Transaction) -> SqlUnit:
    return SqlUnit(
        transaction.connection,
        now_ms=transaction.now_ms,
        control_plane=transaction.control_plane,
        shared=transaction.shared,
    )


def _open_sqlite(path: str, clock: Clock, measures: Measures | None) -> sqlite.SqliteDoor:
    now_ms = sqlite.DatabaseTime(clock)
    engine = sqlite.open_engine(path, now_ms=now_ms, writes=True)
    try:
        bring_up_to_date(engine)
    except DBAPIError as error:
        raise StoreFailed(f"cannot open the database {path}: {error.orig}") from error
    finally:
        engine.dispose()
    return sqlite.SqliteDoor(path, now_ms=now_ms, measures=measures)


def _open_server(
    url: sa.URL,
    on_events: Callable[[Sequence[Event]], None],
    measures: Measures | None,
    writer: str,
    now_ms: Callable[[], int] | None,
) -> SqlDatabase:
    engine = postgres.open_engine(
        url,
        idle_ms=_MIGRATION_MS,
        statement_ms=_MIGRATION_MS,
        lock_ms=_MIGRATION_LOCK_MS,
        isolation_level="READ COMMITTED",
    )
    try:
        bring_up_to_date_in_turn(engine)
    finally:
        engine.dispose()
    door = postgres.PostgresDoor(
        url, writer=writer, revision=newest_revision(), measures=measures, now_ms=now_ms
    )
    return SqlDatabase(door, on_events=on_events, writer=writer)
