"""The control plane's database: opened, brought up to date, and used by units."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError

from replicator.control_plane.db.lock import ProcessLock
from replicator.control_plane.db.migrate import bring_up_to_date, newest_revision, revision_of
from replicator.control_plane.db.sqlite import DatabaseTime, SqliteDoor, open_engine
from replicator.control_plane.db.unit import SqlUnit
from replicator.control_plane.ports import Event, Unit
from replicator.kernel.clock import Clock
from replicator.kernel.errors import InvalidRequest, StoreFailed, Unavailable

Answer = TypeVar("Answer")


class SqlDatabase:
    """`Database` in one SQLite file, which this process alone may use.

    `on_events` is called on the event loop with the events of each unit that has become durable, and
    `on_commit` in another thread with the number of units in each commit.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Clock,
        on_events: Callable[[Sequence[Event]], None],
        on_commit: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Opens or creates the file and migrates its schema.

        Raises:
            Conflict: another process has it.
            StoreFailed: it cannot be opened, or it belongs to a newer release.
        """
        self._on_events = on_events
        self._closed = False
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._lock = ProcessLock(path + ".lock", guarded=path)
        except OSError as error:
            raise StoreFailed(f"cannot open the database {path}: {error.strerror}") from error
        try:
            self._door = _open_door(path, clock=clock, on_commit=on_commit)
        except BaseException:
            self._lock.release()
            raise

    async def transact(self, work: Callable[[Unit], Answer]) -> Answer:
        """See `ports.Database`."""

        def run(connection: sa.Connection) -> tuple[Answer, list[Event]]:
            unit = SqlUnit(connection)
            return work(unit), unit.noted

        answer, events = await self._door.transact(run)
        self._on_events(events)
        return answer

    async def read(self, work: Callable[[Unit], Answer]) -> Answer:
        """See `ports.Database`."""
        return await self._door.read(lambda connection: work(SqlUnit(connection)))

    async def check(self) -> str:
        """See `ports.Database`."""
        revision = await self._door.read(revision_of)
        if revision != newest_revision():
            raise Unavailable(f"the database's schema is {revision}, this release needs {newest_revision()}")
        return revision

    def close(self) -> None:
        """Finish what was accepted and let go of the file. Closing again does nothing."""
        if not self._closed:
            self._closed = True
            self._door.close()
            self._lock.release()


def sqlite_path(url: str) -> str:
    """The absolute path of the file that `url` names.

    Raises:
        InvalidRequest: it is not the URL of an SQLite file.
    """
    try:
        parsed = sa.make_url(url)
    except ArgumentError as error:
        raise InvalidRequest(f"'{url}' is not a database URL; write sqlite:////path/to/file") from error
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        raise InvalidRequest("the control plane keeps its state in an SQLite file: sqlite:////path/to/file")
    return os.path.abspath(str(parsed.database))


def _open_door(path: str, **arguments: Any) -> SqliteDoor:
    now_ms = DatabaseTime(arguments.pop("clock"))
    engine = open_engine(path, now_ms=now_ms, writes=True)
    try:
        bring_up_to_date(engine)
    except DBAPIError as error:
        raise StoreFailed(f"cannot open the database {path}: {error.orig}") from error
    finally:
        engine.dispose()
    return SqliteDoor(path, now_ms=now_ms, **arguments)
