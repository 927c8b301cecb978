"""Jobs in SQL. Statements are built once: building one takes longer than running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db import rows
from replicator.control_plane.db.schema import JOB_STATES_LIVE, is_state, jobs
from replicator.control_plane.domain.job import Job, JobState, MigrateSpec
from replicator.kernel.names import NodeName
from replicator.wire.sessions import INTEGER_MAX

_KEY: sa.BindParameter[Any] = sa.bindparam("key")
_LIMIT: sa.BindParameter[Any] = sa.bindparam("limit")
_LIVE = is_state(jobs.c.state, *JOB_STATES_LIVE)

_INSERT = sa.insert(jobs).returning(*jobs.c)
_GET = sa.select(jobs).where(jobs.c.id == _KEY)
_GET_BY_IDEMPOTENCY_KEY = sa.select(jobs).where(jobs.c.idempotency_key == _KEY)
_UPDATE = sa.update(jobs).where(jobs.c.id == _KEY)
_PAGE = sa.select(jobs).where(jobs.c.id < _KEY).order_by(jobs.c.id.desc()).limit(_LIMIT)
_PAGE_IN_STATE = _PAGE.where(jobs.c.state == sa.bindparam("in_state"))
_OLDEST_IN_STATE = (
    sa.select(jobs).where(jobs.c.state == sa.bindparam("in_state")).order_by(jobs.c.id).limit(_LIMIT)
)
_LIVE_BY_SIDE = [
    sa.select(jobs.c.id).where(side == _KEY, _LIVE).order_by(jobs.c.id).limit(_LIMIT)
    for side in (jobs.c.src_node, jobs.c.dst_node)
]
_COUNTS = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)


class SqlJobs:
    """`JobRecords` on one connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, spec: MigrateSpec, *, idempotency_key: str | None, fingerprint: str, now_ms: int) -> Job:
        """A new job, queued."""
        job = Job(id=0, spec=spec, created_at_ms=now_ms, updated_at_ms=now_ms)
        values = rows.job_values(job) | {
            "kind": "migrate",
            "spec": rows.spec_value(spec),
            "src_node": str(spec.src_node),
            "dst_node": str(spec.dst_node),
            "idempotency_key": idempotency_key,
            "fingerprint": fingerprint,
            "created_at_ms": now_ms,
        }
        return rows.job_of(self._connection.execute(_INSERT, values).one())

    def get(self, job_id: int) -> Job | None:
        """The job, if there is one."""
        return self._one(_GET, job_id)

    def by_idempotency_key(self, key: str) -> Job | None:
        """The job that was submitted under `key`."""
        return self._one(_GET_BY_IDEMPOTENCY_KEY, key)

    def put(self, job: Job) -> None:
        """Replaces the job of that id."""
        self._connection.execute(_UPDATE, rows.job_values(job) | {"key": job.id})

    def page(self, *, before: int | None, limit: int, state: JobState | None) -> Sequence[Job]:
        """At most `limit` jobs with ids below `before`, newest first."""
        values: rows.Values = {"key": INTEGER_MAX if before is None else before, "limit": limit}
        if state is None:
            found = self._connection.execute(_PAGE, values)
        else:
            found = self._connection.execute(_PAGE_IN_STATE, values | {"in_state": str(state)})
        return [rows.job_of(row) for row in found]

    def to_plan(self, *, limit: int) -> Sequence[Job]:
        """Jobs that are being planned, then those that are queued, oldest first."""
        found: list[Job] = []
        # One state at a time: the index gives each in the order of ids, but not two merged.
        for state in (JobState.PLANNING, JobState.QUEUED):
            values = {"in_state": str(state), "limit": limit - len(found)}
            found.extend(rows.job_of(row) for row in self._connection.execute(_OLDEST_IN_STATE, values))
        return found

    def live_of_node(self, name: NodeName, *, limit: int) -> Sequence[int]:
        """Ids of live jobs that have `name` as source or destination, oldest first."""
        found: set[int] = set()
        for query in _LIVE_BY_SIDE:
            found.update(self._connection.scalars(query, {"key": name, "limit": limit}))
        return sorted(found)[:limit]

    def counts(self) -> Mapping[JobState, int]:
        """How many jobs are in each state that has any."""
        return {JobState(state): count for state, count in self._connection.execute(_COUNTS)}

    def _one(self, query: sa.Select[tuple[int]], key: int | str) -> Job | None:
        row = self._connection.execute(query, {"key": key}).one_or_none()
        return None if row is None else rows.job_of(row)
