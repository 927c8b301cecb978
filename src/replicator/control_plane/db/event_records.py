"""What happened to jobs, in SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import JsonValue

from replicator.control_plane.db.schema import job_events, jobs
from replicator.control_plane.db.shared_writes import Shape
from replicator.control_plane.db.write_behind import WriteBehind
from replicator.control_plane.domain.job_event import EVENTS_MAX, JobEvent

_JOB: sa.BindParameter[Any] = sa.bindparam("of_job")
_EVENT: sa.BindParameter[Any] = sa.bindparam("event")

_C = job_events.c
_NEWEST = sa.select(sa.func.max(_C.id)).where(_C.job_id == _JOB)
_LATEST: Shape[int] = Shape(table=job_events, key=("job_id",), values=lambda _: {}, changes=lambda _, __: {})
_FORGET = "DELETE FROM job_events WHERE job_id = ? AND id <= ?"
_AFTER = (
    sa.select(job_events)
    .where(_C.job_id == _JOB, _C.id > _EVENT)
    .order_by(_C.id)
    .limit(sa.bindparam("limit"))
)


class SqlEvents:
    """`EventRecords` on one connection."""

    def __init__(self, connection: WriteBehind, *, now_ms: int) -> None:
        self._connection = connection
        self._now_ms = now_ms

    def append(self, job_id: int, name: str, *fields: Mapping[str, JsonValue]) -> None:
        """An event called `name` for each of `fields`, now."""
        if not fields:
            return
        newest = self._newest(job_id)
        self._connection.expect(_LATEST, job_id, newest + len(fields))
        told = {"job_id": job_id, "at_ms": self._now_ms, "name": name}
        added = [told | {"id": newest + 1 + index, "fields": dict(each)} for index, each in enumerate(fields)]
        self._connection.insert(job_events, added)
        if newest + len(fields) > EVENTS_MAX:
            newest_gone = newest + len(fields) - EVENTS_MAX
            self._connection.later(job_events, _FORGET, (job_id, newest_gone))

    def _newest(self, job_id: int) -> int:
        """The number of the job's latest event, or 0."""
        newest = self._connection.known(_LATEST, job_id)
        if newest is not None:
            return newest
        waiting = self._connection.rows_waiting(job_events, "insert")
        has_news = any(row[0] == job_id for _, rows in waiting for row in rows)
        if self._connection.was_added(jobs, job_id) and not has_news:
            return 0
        found = self._connection.query(_NEWEST, {"of_job": job_id}, of=[job_events] if has_news else ())
        return found.scalar_one() or 0

    def after(self, job_id: int, *, event_id: int, limit: int) -> Sequence[JobEvent]:
        """At most `limit` events of a job that follow `event_id` (0 for the first), in their order."""
        values = {"of_job": job_id, "event": event_id, "limit": limit}
        return [JobEvent(**row._asdict()) for row in self._connection.query(_AFTER, values, of=[job_events])]
