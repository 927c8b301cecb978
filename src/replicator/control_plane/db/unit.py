"""One transaction's view of the records."""

from __future__ import annotations

from functools import cached_property

import sqlalchemy as sa

from replicator.control_plane.db.duty_records import SqlDuties
from replicator.control_plane.db.event_records import SqlEvents
from replicator.control_plane.db.history_records import SqlHistory
from replicator.control_plane.db.job_records import SqlJobs
from replicator.control_plane.db.limit_records import SqlLimits
from replicator.control_plane.db.node_records import SqlNodes, SqlSessions
from replicator.control_plane.db.object_records import SqlObjects
from replicator.control_plane.db.schema import control_plane
from replicator.control_plane.db.shared_writes import Shared
from replicator.control_plane.db.task_records import SqlAttempts, SqlTasks
from replicator.control_plane.db.upkeep_records import SqlUpkeep
from replicator.control_plane.db.write_behind import WriteBehind
from replicator.control_plane.ports import Event

_IDENTITY = sa.select(control_plane.c.id)
_NOW = sa.select(sa.func.now_ms(type_=sa.BigInteger))


class SqlUnit:
    """`Unit` on one connection. `noted` are the events so far.

    `shared` is what it has in common with the other units of its transaction; without it stands alone, and `flush` ends it.

    `now_ms` and `control_plane` are what the door has read with the transaction, where it has.
    """

    def __init__(
        self,
        connection: sa.Connection,
        *,
        now_ms: int | None = None,
        control_plane: str | None = None,
        shared: Shared | None = None,
    ) -> None:
        self._connection = statements = WriteBehind(shared or Shared(connection))
        self._now_ms = now_ms
        self._control_plane = control_plane
        self.nodes = SqlNodes(statements)
        self.sessions = SqlSessions(statements)
        self.jobs = SqlJobs(statements)
        self.tasks = SqlTasks(statements)
        self.attempts = SqlAttempts(statements)
        self.objects = SqlObjects(statements)
        self.limits = SqlLimits(statements)
        self.duties = SqlDuties(statements)
        self.history = SqlHistory(statements)
        self.upkeep = SqlUpkeep(statements)
        self.noted: list[Event] = []

    @cached_property
    def now_ms(self) -> int:
        """Database time, read once."""
        if self._now_ms is not None:
            return self._now_ms
        return int(self._connection.query(_NOW, of=()).scalar_one())

    @cached_property
    def events(self) -> SqlEvents:
        """What happened to jobs."""
        return SqlEvents(self._connection, now_ms=self.now_ms)

    @cached_property
    def control_plane(self) -> str:
        """The identity of this database, read once."""
        if self._control_plane is not None:
            return self._control_plane
        identity: str | None = self._connection.fact(_IDENTITY)
        if identity is None:
            identity = str(self._connection.query(_IDENTITY, of=()).scalar_one())
            self._connection.note_fact(_IDENTITY, identity)
        return identity

    def flush(self) -> None:
        """Send what waits."""
        self._connection.flush()

    def leave(self) -> None:
        """The work is done: what it has put takes effect with what the other units of the transaction have put."""
        self._connection.leave()

    @property
    def has_written(self) -> bool:
        """Whether anything that writes has been sent."""
        return self._connection.has_written

    def note(self, event: Event) -> None:
        """Tell `event` once the unit is durable."""
        self.noted.append(event)
