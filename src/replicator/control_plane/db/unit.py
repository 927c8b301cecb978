"""One transaction's view of the records."""

from __future__ import annotations

from functools import cached_property

import sqlalchemy as sa

from replicator.control_plane.db.event_records import SqlEvents
from replicator.control_plane.db.job_records import SqlJobs
from replicator.control_plane.db.limit_records import SqlLimits
from replicator.control_plane.db.node_records import SqlNodes, SqlSessions
from replicator.control_plane.db.object_records import SqlObjects
from replicator.control_plane.db.schema import control_plane
from replicator.control_plane.db.task_records import SqlAttempts, SqlTasks
from replicator.control_plane.ports import Event

_IDENTITY = sa.select(control_plane.c.id)
_NOW = sa.select(sa.func.now_ms(type_=sa.BigInteger))


class SqlUnit:
    """`Unit` on one connection. `noted` are the events so far."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.nodes = SqlNodes(connection)
        self.sessions = SqlSessions(connection)
        self.jobs = SqlJobs(connection)
        self.tasks = SqlTasks(connection)
        self.attempts = SqlAttempts(connection)
        self.objects = SqlObjects(connection)
        self.limits = SqlLimits(connection)
        self.noted: list[Event] = []

    @cached_property
    def now_ms(self) -> int:
        """Database time, read once."""
        return self._connection.execute(_NOW).scalar_one()

    @cached_property
    def events(self) -> SqlEvents:
        """What happened to jobs."""
        return SqlEvents(self._connection, now_ms=self.now_ms)

    @cached_property
    def control_plane(self) -> str:
        """The identity of this database, read once."""
        identity: str = self._connection.execute(_IDENTITY).scalar_one()
        return identity

    def note(self, event: Event) -> None:
        """Tell `event` once the unit is durable."""
        self.noted.append(event)
