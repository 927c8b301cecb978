"""Jobs in SQL. Statements are built once: building one takes longer than running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db import queue_statements, rows
from replicator.control_plane.db.schema import JOB_STATES_LIVE, is_state, jobs
from replicator.control_plane.db.write_behind import WriteBehind
from replicator.control_plane.domain.job import Job, JobState
from replicator.kernel.names import NodeName
from replicator.wire.sessions import INTEGER_MAX

_KEY: sa.BindParameter[Any] = sa.bindparam("key")
_LIMIT: sa.BindParameter[Any] = sa.bindparam("limit")
_LIVE = is_state(jobs.c.state, *JOB_STATES_LIVE)

_GET_MANY = sa.select(jobs).where(jobs.c.id.in_(sa.bindparam("keys", expanding=True)))
_GET_BY_IDEMPOTENCY_KEY = sa.select(jobs).where(jobs.c.idempotency_key == _KEY)
_PAGE = sa.select(jobs).where(jobs.c.id < _KEY).order_by(jobs.c.id.desc()).limit(_LIMIT)
_PAGE_IN_STATE = _PAGE.where(jobs.c.state == sa.bindparam("in_state"))
_TO_PLAN = sa.select(jobs).where(sa.text("to_plan")).order_by(jobs.c.plan_rank_ms, jobs.c.id).limit(_LIMIT)
_DRY_RUN_BEFORE = (
    sa.select(jobs)
    .where(
        jobs.c.plan_fingerprint == _KEY,
        sa.text("dry_run"),
        is_state(jobs.c.state, JobState.SUCCEEDED),
        jobs.c.id < sa.bindparam("before"),
    )
    .order_by(jobs.c.id.desc())
    .limit(1)
)
_LIMITS_TO = (
    sa.select(jobs.c.id, jobs.c.bytes_per_second)
    .where(jobs.c.dst_node == _KEY, jobs.c.bytes_per_second.is_not(None), _LIVE)
    .order_by(jobs.c.id)
    .limit(_LIMIT)
)
_LIVE_BY_SIDE = [
    sa.select(jobs.c.id).where(side == _KEY, _LIVE).order_by(jobs.c.id).limit(_LIMIT)
    for side in (jobs.c.src_node, jobs.c.dst_node)
]
_COUNTS = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)


class SqlJobs:
    """`JobRecords` on one connection."""

    def __init__(self, connection: WriteBehind) -> None:
        self._connection = connection

    def add(self, job: Job) -> Job:
        """The job under a new id, whatever its own is."""
        job = replace(job, id=self._connection.number(jobs))
        self._connection.put_new(rows.JOB, job.id, job)
        return job

    def get(self, job_id: int) -> Job | None:
        """The job, if there is one."""
        return self._connection.known(rows.JOB, job_id) or self.get_many(frozenset({job_id})).get(job_id)

    def get_many(self, job_ids: frozenset[int]) -> Mapping[int, Job]:
        """Those of `job_ids` that there are."""
        found = {job_id: self._connection.known(rows.JOB, job_id) for job_id in job_ids}
        asked = sorted(job_id for job_id, job in found.items() if job is None)
        if asked:
            read = self._connection.query(_GET_MANY, {"keys": asked}, of=())
            found |= {job.id: job for job in map(self._read, read)}
        return {job_id: job for job_id, job in found.items() if job is not None}

    def by_idempotency_key(self, key: str) -> Job | None:
        """The job that was submitted under `key`."""
        for _, job in self._connection.waiting(rows.JOB):
            if job.idempotency_key == key:
                return self._connection.known(rows.JOB, job.id)
        row = self._connection.query(_GET_BY_IDEMPOTENCY_KEY, {"key": key}, of=()).one_or_none()
        return None if row is None else self._read(row)

    def put(self, job: Job) -> None:
        """Replaces the job of that id."""
        self._connection.put(rows.JOB, job.id, job)

    def page(self, *, before: int | None, limit: int, state: JobState | None) -> Sequence[Job]:
        """At most `limit` jobs with ids below `before`, newest first."""
        values: rows.Values = {"key": INTEGER_MAX if before is None else before, "limit": limit}
        if state is None:
            found = self._connection.execute(_PAGE, values)
        else:
            found = self._connection.execute(_PAGE_IN_STATE, values | {"in_state": str(state)})
        return [rows.job_of(row) for row in found]

    def to_plan(self, *, limit: int) -> Sequence[Job]:
        """Jobs that the planner is to look at, in the order of `plan_rank_ms`, then the oldest."""
        return [self._read(row) for row in self._connection.query(_TO_PLAN, {"limit": limit}, of=[jobs])]

    def dry_run_before(self, job: Job) -> Job | None:
        """The latest dry run of the same plan that was submitted before `job` and has succeeded."""
        values = {"key": job.plan_fingerprint, "before": job.id}
        news = (
            after.plan_fingerprint == job.plan_fingerprint and after.spec.dry_run
            for _, after in self._connection.waiting(rows.JOB)
        )
        row = self._connection.query(_DRY_RUN_BEFORE, values, of=[jobs] if any(news) else ()).one_or_none()
        return None if row is None else rows.job_of(row)

    def limits_to(self, node: NodeName, *, limit: int) -> Mapping[int, int]:
        """Bytes a second of at most `limit` live jobs to `node` that have a limit, by id."""
        limited = (
            before is None or before.bytes_per_second is not None or after.bytes_per_second is not None
            for before, after in self._connection.waiting(rows.JOB)
            if after.spec.dst_node == node
        )
        found = self._connection.query(
            _LIMITS_TO, {"key": node, "limit": limit}, of=[jobs] if any(limited) else ()
        )
        return {row.id: row.bytes_per_second for row in found}

    def live_of_node(self, name: NodeName, *, limit: int) -> Sequence[int]:
        """Ids of live jobs that have `name` as source or destination, oldest first."""
        found: set[int] = set()
        for query in _LIVE_BY_SIDE:
            found.update(self._connection.scalars(query, {"key": name, "limit": limit}))
        return sorted(found)[:limit]

    def to_start(self, *, now_ms: int, limit: int) -> Sequence[Job]:
        """Postponed jobs whose start has come, longest due first."""
        return self._due(queue_statements.TO_START, now_ms, limit)

    def next_start_ms(self) -> int | None:
        """When the next postponed job is due to begin."""
        return self._earliest(queue_statements.NEXT_START)

    def overdue(self, *, now_ms: int, limit: int) -> Sequence[Job]:
        """Live jobs whose deadline has come and that are not being cancelled, longest due first."""
        return self._due(queue_statements.OVERDUE, now_ms, limit)

    def next_deadline_ms(self) -> int | None:
        """When the next such job is due."""
        return self._earliest(queue_statements.NEXT_DEADLINE)

    def counts(self) -> Mapping[JobState, int]:
        """How many jobs are in each state that has any."""
        return {JobState(state): count for state, count in self._connection.execute(_COUNTS)}

    def _due(self, query: sa.Select[Any], now_ms: int, limit: int) -> Sequence[Job]:
        found = self._connection.query(query, {"moment": now_ms, "limit": limit}, of=[jobs])
        return [self._read(row) for row in found]

    def _earliest(self, query: sa.Select[Any]) -> int | None:
        earliest: int | None = self._connection.query(query, of=[jobs]).scalar_one()
        return earliest

    def _read(self, row: rows.AnyRow) -> Job:
        job = rows.job_of(row)
        return self._connection.read(rows.JOB, job.id, job)
