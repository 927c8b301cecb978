"""Jobs: submitted, shown, cancelled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain import task as tasks
from replicator.control_plane.domain.job import Job, JobState, MigrateSpec
from replicator.control_plane.domain.task import TaskState
from replicator.control_plane.ports import Database, Unit
from replicator.control_plane.services import cursors, outcomes
from replicator.control_plane.services.registry import require_node
from replicator.control_plane.services.views import job_view
from replicator.kernel.errors import Conflict, InvalidRequest, NotFound
from replicator.kernel.names import NodeName, ObjectId
from replicator.wire.jobs import JobPage, JobStatus, JobView, MigrateRequest

SCHEDULER_TOPIC = "*scheduler*"
"""Woken when there is something to plan. No node can have that name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A job, and whether this very submission created it."""

    job: JobView
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """What can be asked about jobs."""

    database: Database

    async def migrate(self, request: MigrateRequest, *, idempotency_key: str | None) -> Submitted:
        """Create a job, durably, or find the one that the same key and request created before.

        Raises:
            InvalidRequest: source and destination are the same node.
            NotFound: one of the nodes is not registered.
            Conflict: the key came with another request before.
        """
        spec = MigrateSpec(
            src_node=NodeName(request.src_node),
            dst_node=NodeName(request.dst_node),
            object_id=ObjectId(request.object_id),
        )
        if spec.src_node == spec.dst_node:
            raise InvalidRequest(
                f"source and destination are the same node, '{spec.src_node}'; name two", node=spec.src_node
            )
        return await self.database.transact(lambda unit: _submit(unit, spec, idempotency_key))

    async def get(self, job_id: int) -> JobView:
        """The job, or `NotFound`."""
        return await self.database.read(lambda unit: _view(unit, _require_job(unit, job_id)))

    async def page(self, *, cursor: str | None, limit: int, status: JobStatus | None) -> JobPage:
        """At most `limit` jobs, newest first."""
        before = None if cursor is None else cursors.before_job(cursor)
        state = None if status is None else JobState(status)
        return await self.database.read(lambda unit: _page(unit, before, limit, state))

    async def cancel(self, job_id: int) -> JobView:
        """Ask a live job to stop; it is `cancelled` once its node has. Asking again changes nothing.

        Raises:
            NotFound: there is no such job.
            Conflict: it has ended otherwise.
        """
        return await self.database.transact(lambda unit: _cancel(unit, job_id))


def _submit(unit: Unit, spec: MigrateSpec, idempotency_key: str | None) -> Submitted:
    fingerprint = _fingerprint(spec)
    if idempotency_key is not None:
        known = unit.jobs.by_idempotency_key(idempotency_key)
        if known is not None:
            return _submitted_before(unit, known, fingerprint)
    for name in (spec.src_node, spec.dst_node):
        require_node(unit, name)
    job = unit.jobs.add(spec, idempotency_key=idempotency_key, fingerprint=fingerprint, now_ms=unit.now_ms)
    unit.note(outcomes.job_event(job, wakes=SCHEDULER_TOPIC))
    return Submitted(job=_view(unit, job), created=True)


def _submitted_before(unit: Unit, job: Job, fingerprint: str) -> Submitted:
    if job.fingerprint != fingerprint:
        raise Conflict(
            f"this Idempotency-Key belongs to job {job.id}, which was another request; use a new key",
            job=job.id,
        )
    return Submitted(job=_view(unit, job), created=False)


def _fingerprint(spec: MigrateSpec) -> str:
    said = ["migrate", spec.src_node, spec.dst_node, spec.object_id]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _require_job(unit: Unit, job_id: int) -> Job:
    job = unit.jobs.get(job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}", job=job_id)
    return job


def _cancel(unit: Unit, job_id: int) -> JobView:
    known = _require_job(unit, job_id)
    job = jobs.cancel(known, now_ms=unit.now_ms)
    if job is not known:
        unit.jobs.put(job)
        unit.note(outcomes.job_event(job))
        _cancel_tasks(unit, job)
    return _view(unit, _require_job(unit, job_id))


def _cancel_tasks(unit: Unit, job: Job) -> None:
    live = unit.tasks.live_of_jobs([job.id])
    for task in live:
        if task.state is not TaskState.CANCELLING:
            outcomes.move(unit, tasks.cancel(task, now_ms=unit.now_ms))
    if not live:
        unit.jobs.put(jobs.settle(job, now_ms=unit.now_ms))
        unit.note(outcomes.job_event(_require_job(unit, job.id)))


def _page(unit: Unit, before: int | None, limit: int, state: JobState | None) -> JobPage:
    found = unit.jobs.page(before=before, limit=limit + 1, state=state)
    shown = found[:limit]
    more = len(found) > limit
    return JobPage(jobs=_views(unit, shown), next_cursor=cursors.of_job(shown[-1].id) if more else None)


def _view(unit: Unit, job: Job) -> JobView:
    return _views(unit, [job])[0]


def _views(unit: Unit, shown: Sequence[Job]) -> list[JobView]:
    live = unit.tasks.live_of_jobs([job.id for job in shown if job.state in jobs.LIVE])
    nodes = unit.nodes.get_many(frozenset(task.dst_node for task in live))
    return [
        job_view(job, [task for task in live if task.job_id == job.id], nodes, now_ms=unit.now_ms)
        for job in shown
    ]
