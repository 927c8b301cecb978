"""When a job may begin and by when it must have ended. Pure; moments are database time in milliseconds.

| the job is                 | its start comes           | its deadline comes                 |
|----------------------------|---------------------------|------------------------------------|
| queued and postponed       | it is planned             | cancelled                          |
| paused before its start    | it stays paused           | cancelled                          |
| planning, running, paused  | cannot be: it has begun   | cancelled; what has arrived stays  |
| cancelling, or at its end  | nothing                   | nothing                            |
"""

from __future__ import annotations

from dataclasses import replace

from replicator.control_plane.domain import fairness
from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain.job import Job, JobState
from replicator.kernel.errors import Conflict, InvalidRequest
from replicator.wire.sessions import ErrorInfo


def check(*, start_at_ms: int | None, deadline_at_ms: int | None, now_ms: int) -> None:
    """Whether a job can keep both.

    Raises:
        InvalidRequest: the deadline is over, or not after the start.
    """
    if deadline_at_ms is None:
        return
    if deadline_at_ms <= now_ms:
        raise InvalidRequest("the deadline is over already: name a moment to come")
    if start_at_ms is not None and deadline_at_ms <= start_at_ms:
        raise InvalidRequest("the deadline must be after the start")


def is_to_come(start_at_ms: int | None, *, now_ms: int) -> bool:
    """Whether a job with that start has to wait for it."""
    return start_at_ms is not None and start_at_ms > now_ms


def begin(job: Job, *, now_ms: int) -> Job:
    """The start of a postponed job has come: from now on it is planned in its turn."""
    turn_ms = fairness.plan_rank(now_ms=now_ms, priority=job.priority)
    return replace(job, postponed=False, plan_rank_ms=turn_ms, updated_at_ms=now_ms)


def overdue(job: Job, *, now_ms: int) -> Job:
    """The deadline of a live job has come: it is cancelled, and keeps the reason."""
    error = ErrorInfo(
        error_class="permanent",
        code=jobs.DEADLINE_EXCEEDED,
        message="the job had not ended by its deadline; what had arrived stays",
    )
    return replace(jobs.cancel(job, now_ms=now_ms), error=error)


def change_start(job: Job, start_at_ms: int | None, *, now_ms: int) -> Job:
    """Another start, of a job that has not begun; None, or one that is over, is at once.

    Raises:
        Conflict: it has begun, or has ended.
        InvalidRequest: the start is not before the deadline.
    """
    if job.state not in {JobState.QUEUED, JobState.PAUSED} or job.tasks_planned:
        raise Conflict(f"job {job.id} has begun, so its start cannot change", job=job.id)
    if start_at_ms is not None and job.deadline_at_ms is not None and start_at_ms >= job.deadline_at_ms:
        raise InvalidRequest("the start must be before the deadline")
    job = replace(job, start_at_ms=start_at_ms, updated_at_ms=now_ms)
    if is_to_come(start_at_ms, now_ms=now_ms):
        return replace(job, postponed=True)
    return begin(job, now_ms=now_ms) if job.postponed else job


def change_deadline(job: Job, deadline_at_ms: int | None, *, now_ms: int) -> Job:
    """Another deadline; None for none.

    Raises:
        Conflict: the job has ended, or is about to.
        InvalidRequest: the deadline is over, or not after the start.
    """
    if job.state not in jobs.LIVE or job.state is JobState.CANCELLING:
        raise Conflict(f"job {job.id} is {job.state}, so its deadline cannot change", job=job.id)
    check(start_at_ms=job.start_at_ms, deadline_at_ms=deadline_at_ms, now_ms=now_ms)
    return replace(job, deadline_at_ms=deadline_at_ms, updated_at_ms=now_ms)
