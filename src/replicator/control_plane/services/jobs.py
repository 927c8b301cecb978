"""Jobs: submitted, shown, changed, stopped and tried again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from replicator.control_plane.domain import fairness, schedule
from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.spec import JobSpec
from replicator.control_plane.domain.task import Task
from replicator.control_plane.ports import Database, Event, Unit
from replicator.control_plane.services import cursors, history, moving, requests, scenes, telling
from replicator.control_plane.services.registry import require_node
from replicator.control_plane.services.requests import JobRequest
from replicator.control_plane.services.views import job_view
from replicator.kernel.errors import Conflict
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

    Jobs in history are found like others, but those who want to change one get `Conflict`.

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
        """Another priority, rate, number of tasks, start or deadline; what `change` does not set stays.

        Raises:
            Conflict: it has ended, or has begun and its start is to change.
            InvalidRequest: the deadline is over, or not after the start.
        """
        return await self.database.transact(lambda unit: _change(unit, job_id, change))

    async def pause(self, job_id: int) -> JobView:
        """Stop a live job for a while; what has arrived stays. Asking again changes nothing.

        Raises:
            Conflict: it has ended, or is being cancelled.
        """
        return await self.database.transact(lambda unit: _move(unit, job_id, jobs.pause, moving.pause_task))

    async def resume(self, job_id: int) -> JobView:
        """Go on after a pause. Asking again changes nothing.

        Raises:
            Conflict: it has ended, or is being cancelled.
        """
        return await self.database.transact(lambda unit: _move(unit, job_id, jobs.resume, moving.resume_task))

    async def cancel(self, job_id: int) -> JobView:
        """Ask a live job to stop; it is `cancelled` once its node has. Asking again changes nothing.

        Raises:
            Conflict: it has ended otherwise.
        """
        return await self.database.transact(lambda unit: _move(unit, job_id, jobs.cancel, moving.cancel_task))

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
    return _view(unit, history.job_of(unit, job_id))


def _submit(
    unit: Unit, request: JobRequest, idempotency_key: str | None, plan: Callable[[Unit, Job], None]
) -> Submitted:
    spec = requests.spec_of(request)
    fingerprint = requests.fingerprint_of(request)
    if idempotency_key is not None:
        known = history.by_idempotency_key(unit, idempotency_key)
        if known is not None:
            return _submitted_before(unit, known, fingerprint)
    _require_nodes(unit, spec)
    start_at_ms, deadline_at_ms = requests.ms_of(request.start_at), requests.ms_of(request.deadline_at)
    schedule.check(start_at_ms=start_at_ms, deadline_at_ms=deadline_at_ms, now_ms=unit.now_ms)
    job = unit.jobs.add(
        Job(
            id=0,
            spec=spec,
            priority=request.priority,
            plan_rank_ms=fairness.plan_rank(now_ms=unit.now_ms, priority=request.priority),
            bytes_per_second=None if isinstance(request, VerifyRequest) else request.bytes_per_second,
            tasks_max=request.tasks_max,
            start_at_ms=start_at_ms,
            deadline_at_ms=deadline_at_ms,
            postponed=schedule.is_to_come(start_at_ms, now_ms=unit.now_ms),
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
    unit.nodes.get_many(frozenset({spec.src_node, spec.dst_node}))  # both at once
    for name in (spec.src_node, spec.dst_node):
        require_node(unit, name)


def _move(
    unit: Unit,
    job_id: int,
    move: Callable[..., Job],
    move_task: Callable[[Task, int], Task],
) -> JobView:
    """Bring a job, and then its live tasks, into another state; a job that stays as it is is left alone."""
    known = history.job_to_change(unit, job_id)
    job = move(known, now_ms=unit.now_ms)
    if job is not known:
        moving.move(unit, known, job, move_task)
    return view_of(unit, job_id)


def _retry(unit: Unit, job_id: int) -> JobView:
    def retry(job: Job, *, now_ms: int) -> Job:
        retried = jobs.retry(job, now_ms=now_ms)
        # Nodes may be deleted once no job of theirs lives. Looked at before anything is written.
        _require_nodes(unit, job.spec)
        return retried

    return _move(unit, job_id, retry, moving.leave_task)


def _change(unit: Unit, job_id: int, change: ChangeJob) -> JobView:
    known = history.job_to_change(unit, job_id)
    job = _changed(known, change, now_ms=unit.now_ms)
    unit.jobs.put(job)
    if job.priority != known.priority:
        unit.tasks.set_priority(job_id, job.priority)
    unit.note(Event(name="limits.changed", fields={"job": job_id}, wakes=[job.spec.dst_node], level="debug"))
    said = change.model_dump(mode="json", include=change.model_fields_set)
    telling.job_event(unit, job_id, "job.changed", said)
    # There may be room for more of its tasks, or its start may have come.
    telling.job_moved(unit, known, job)
    return view_of(unit, job_id)


def _changed(job: Job, change: ChangeJob, *, now_ms: int) -> Job:
    named = change.model_fields_set
    job = jobs.change(
        job,
        priority=job.priority if change.priority is None else change.priority,
        bytes_per_second=change.bytes_per_second if "bytes_per_second" in named else job.bytes_per_second,
        tasks_max=change.tasks_max if "tasks_max" in named else job.tasks_max,
        now_ms=now_ms,
    )
    start_at_ms, deadline_at_ms = requests.ms_of(change.start_at), requests.ms_of(change.deadline_at)
    if {"start_at", "deadline_at"} <= named:
        # Both may move past each other.
        job = schedule.change_deadline(job, None, now_ms=now_ms)
    if "start_at" in named:
        job = schedule.change_start(job, start_at_ms, now_ms=now_ms)
    if "deadline_at" in named:
        job = schedule.change_deadline(job, deadline_at_ms, now_ms=now_ms)
    return job


def _page(unit: Unit, before: int | None, limit: int, state: JobState | None) -> JobPage:
    found = history.page(unit, before=before, limit=limit + 1, state=state)
    shown = found[:limit]
    more = len(found) > limit
    return JobPage(jobs=_views(unit, shown), next_cursor=cursors.of_job(shown[-1].id) if more else None)


def _view(unit: Unit, job: Job) -> JobView:
    return _views(unit, [job])[0]


def _views(unit: Unit, shown: Sequence[Job]) -> list[JobView]:
    live = unit.tasks.live_of_jobs([job.id for job in shown if job.state in jobs.LIVE])
    scene = scenes.of_tasks(unit, live)
    return [job_view(job, [task for task in live if task.job_id == job.id], scene) for job in shown]
