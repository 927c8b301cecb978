"""Jobs: submitted, shown, changed, stopped and tried again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain import task as tasks
from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.spec import JobSpec
from replicator.control_plane.domain.task import Task, TaskState
from replicator.control_plane.ports import Database, Event, Unit
from replicator.control_plane.services import cursors, outcomes, requests, telling
from replicator.control_plane.services.registry import require_node
from replicator.control_plane.services.requests import JobRequest
from replicator.control_plane.services.views import job_view
from replicator.kernel.errors import Conflict, NotFound
from replicator.wire.jobs import (
    ChangeJob,
    JobPage,
    JobStatus,
    JobView,
    MigrateRequest,
    MirrorRequest,
    VerifyRequest,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A job, and whether this very submission created it."""

    job: JobView
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """What can be asked about jobs. Methods raise `NotFound` where there is no such job.

    `plan` does the first step of planning a job with its submission, so that nobody waits for the scheduler.
    """

    database: Database
    plan: Callable[[Unit, Job], None]

    async def migrate(self, request: MigrateRequest, *, idempotency_key: str | None) -> Submitted:
        """Create a job, durably, or find the one that the same key and request created before.

        Raises:
            InvalidRequest: source and destination are the same node, or it is not clear which objects are meant.
            NotFound: one of the nodes is not registered.
            Conflict: the key came with another request before.
        """
        return await self._submit(request, idempotency_key)

    async def mirror(self, request: MirrorRequest, *, idempotency_key: str | None) -> Submitted:
        """Create a job that makes a prefix at the destination equal to the source; otherwise as `migrate`."""
        return await self._submit(request, idempotency_key)

    async def verify(self, request: VerifyRequest, *, idempotency_key: str | None) -> Submitted:
        """Create a job that proves that two nodes agree on a prefix; otherwise as `migrate`."""
        return await self._submit(request, idempotency_key)

    async def get(self, job_id: int) -> JobView:
        """The job."""
        return await self.database.read(lambda unit: view_of(unit, job_id))

    async def page(self, *, cursor: str | None, limit: int, status: JobStatus | None) -> JobPage:
        """At most `limit` jobs, newest first."""
        before = None if cursor is None else cursors.before_job(cursor)
        state = None if status is None else JobState(status)
        return await self.database.read(lambda unit: _page(unit, before, limit, state))

    async def change(self, job_id: int, change: ChangeJob) -> JobView:
        """Another priority or rate, also while the job runs; what `change` does not set stays.

        Raises:
            Conflict: it has ended.
        """
        return await self.database.transact(lambda unit: _change(unit, job_id, change))

    async def pause(self, job_id: int) -> JobView:
        """Stop a live job for a while; what has arrived stays. Asking again changes nothing.

        Raises:
            Conflict: it has ended, or is being cancelled.
        """
        return await self.database.transact(lambda unit: _move(unit, job_id, jobs.pause, _pause_task))

    async def resume(self, job_id: int) -> JobView:
        """Go on after a pause. Asking again changes nothing.

        Raises:
            Conflict: it has ended, or is being cancelled.
        """
        return await self.database.transact(lambda unit: _move(unit, job_id, jobs.resume, _resume_task))

    async def cancel(self, job_id: int) -> JobView:
        """Ask a live job to stop; it is `cancelled` once its node has. Asking again changes nothing.

        Raises:
            Conflict: it has ended otherwise.
        """
        return await self.database.transact(lambda unit: _move(unit, job_id, jobs.cancel, _cancel_task))

    async def retry(self, job_id: int) -> JobView:
        """Try again what has failed, and only that: a job that ended `partial` or `failed` runs again.

        Raises:
            Conflict: it lives, or there is nothing in it to try again.
            NotFound: one of its nodes is no longer registered.
        """
        return await self.database.transact(lambda unit: _retry(unit, job_id))

    async def _submit(self, request: JobRequest, idempotency_key: str | None) -> Submitted:
        return await self.database.transact(lambda unit: _submit(unit, request, idempotency_key, self.plan))


def view_of(unit: Unit, job_id: int) -> JobView:
    """The job as users see it, or `NotFound`."""
    return _view(unit, _require_job(unit, job_id))


def _submit(
    unit: Unit, request: JobRequest, idempotency_key: str | None, plan: Callable[[Unit, Job], None]
) -> Submitted:
    spec = requests.spec_of(request)
    fingerprint = requests.fingerprint_of(request)
    if idempotency_key is not None:
        known = unit.jobs.by_idempotency_key(idempotency_key)
        if known is not None:
            return _submitted_before(unit, known, fingerprint)
    _require_nodes(unit, spec)
    job = unit.jobs.add(
        Job(
            id=0,
            spec=spec,
            priority=request.priority,
            bytes_per_second=None if isinstance(request, VerifyRequest) else request.bytes_per_second,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            plan_fingerprint=requests.plan_fingerprint_of(request),
            created_at_ms=unit.now_ms,
            updated_at_ms=unit.now_ms,
        )
    )
    telling.job_moved(unit, None, job)
    submitted = Submitted(job=_view(unit, job), created=True)
    plan(unit, job)
    return submitted


def _submitted_before(unit: Unit, job: Job, fingerprint: str) -> Submitted:
    if job.fingerprint != fingerprint:
        raise Conflict(
            f"this Idempotency-Key belongs to job {job.id}, which was another request; use a new key",
            job=job.id,
        )
    return Submitted(job=_view(unit, job), created=False)


def _require_nodes(unit: Unit, spec: JobSpec) -> None:
    for name in (spec.src_node, spec.dst_node):
        require_node(unit, name)


def _require_job(unit: Unit, job_id: int) -> Job:
    job = unit.jobs.get(job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}", job=job_id)
    return job


def _move(
    unit: Unit,
    job_id: int,
    move: Callable[..., Job],
    move_task: Callable[[Task, int], Task],
) -> JobView:
    """Bring a job, and then its live tasks, into another state; a job that stays as it is is left alone."""
    known = _require_job(unit, job_id)
    job = move(known, now_ms=unit.now_ms)
    if job is not known:
        unit.jobs.put(job)
        telling.job_moved(unit, known, job)
        for task in unit.tasks.live_of_jobs([job_id]):
            moved = move_task(task, unit.now_ms)
            if moved is not task:
                outcomes.move(unit, moved)
        _settle(unit, job_id)
    return view_of(unit, job_id)


def _retry(unit: Unit, job_id: int) -> JobView:
    view = _move(unit, job_id, jobs.retry, _leave_task)
    # Nodes may be deleted once no job of theirs lives.
    _require_nodes(unit, _require_job(unit, job_id).spec)
    return view


def _settle(unit: Unit, job_id: int) -> None:
    """End a job of which nothing is left."""
    job = _require_job(unit, job_id)
    settled = jobs.settle(job, now_ms=unit.now_ms)
    if settled is not job:
        unit.jobs.put(settled)
        telling.job_moved(unit, job, settled)


def _cancel_task(task: Task, now_ms: int) -> Task:
    return task if task.state is TaskState.CANCELLING else tasks.cancel(task, now_ms=now_ms)


def _pause_task(task: Task, now_ms: int) -> Task:
    if task.state is TaskState.LEASED:
        return tasks.ask_to_stop(task, now_ms=now_ms)
    return tasks.hold(task, now_ms=now_ms)


def _resume_task(task: Task, now_ms: int) -> Task:
    return tasks.resume(task, now_ms=now_ms) if task.state is TaskState.HELD else task


def _leave_task(task: Task, _: int) -> Task:
    return task


def _change(unit: Unit, job_id: int, change: ChangeJob) -> JobView:
    known = _require_job(unit, job_id)
    rate = (
        change.bytes_per_second if "bytes_per_second" in change.model_fields_set else known.bytes_per_second
    )
    priority = known.priority if change.priority is None else change.priority
    job = jobs.change(known, priority=priority, bytes_per_second=rate, now_ms=unit.now_ms)
    unit.jobs.put(job)
    unit.tasks.set_priority(job_id, priority)
    unit.note(Event(name="limits.changed", fields={"job": job_id}, wakes=[job.spec.dst_node], level="debug"))
    telling.job_event(unit, job_id, "job.changed", {"priority": priority, "bytes_per_second": rate})
    return view_of(unit, job_id)


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
