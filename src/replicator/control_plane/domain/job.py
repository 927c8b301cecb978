"""Jobs: their states, every move between them, and what the end of a task means for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from replicator.control_plane.domain import accounting, fairness
from replicator.control_plane.domain import planning as plans
from replicator.control_plane.domain import spec as specs
from replicator.control_plane.domain.object_row import Action, ObjectRow, Outcome
from replicator.control_plane.domain.planning import Planning
from replicator.control_plane.domain.replacing import replace
from replicator.control_plane.domain.spec import JobKind, JobSpec
from replicator.control_plane.domain.task import Task, TaskKind, TaskState
from replicator.control_plane.domain.transfer import NOTHING, Transfer
from replicator.kernel.errors import Conflict
from replicator.wire.sessions import BYTES_MAX, ErrorInfo, Plan, SurveyResult


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    PLANNING = "planning"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


_S = JobState
_ENDED = frozenset({_S.SUCCEEDED, _S.PARTIAL, _S.FAILED})
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    _S.QUEUED: frozenset({_S.PLANNING, _S.PAUSED, _S.CANCELLING}),
    _S.PLANNING: frozenset({_S.RUNNING, _S.PAUSED, _S.CANCELLING}),
    _S.RUNNING: frozenset({_S.PAUSED, _S.CANCELLING}) | _ENDED,
    # Tasks that were in hand when the job was paused may be its last.
    _S.PAUSED: frozenset({_S.QUEUED, _S.PLANNING, _S.RUNNING, _S.CANCELLING}) | _ENDED,
    _S.SUCCEEDED: frozenset(),
    _S.PARTIAL: frozenset({_S.RUNNING}),
    _S.FAILED: frozenset({_S.RUNNING}),
    _S.CANCELLING: frozenset({_S.CANCELLED}),
    _S.CANCELLED: frozenset(),
}
TERMINAL = _ENDED | {_S.CANCELLED}
LIVE = frozenset(JobState) - TERMINAL


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a user asked for.

    `ended` sums the objects that have settled and what tasks that have ended received. `plan` is what a dry run
    has found, or what the dry run `plan_job_id` has promised. `plan_fingerprint` is the same for a request and its
    dry run. `rank_ms` is the job's clock and `plan_rank_ms` its place among jobs to be planned (`domain.fairness`);
    `tasks_max` bounds the tasks that it has at a time. While it is `postponed` it is not planned, because its start has
    not come; a job that lives at its deadline is cancelled. `retried_at_ms` is when it was last tried again.
    """

    id: int
    spec: JobSpec
    priority: int = 0
    bytes_per_second: int | None = None
    tasks_max: int | None = None
    rank_ms: int = 0
    plan_rank_ms: int = 0
    start_at_ms: int | None = None
    deadline_at_ms: int | None = None
    postponed: bool = False
    state: JobState = JobState.QUEUED
    planning: Planning = field(default_factory=Planning)
    tasks_planned: int = 0
    tasks_succeeded: int = 0
    tasks_failed: int = 0
    tasks_cancelled: int = 0
    ended: Transfer = NOTHING
    attempts: int = 0
    error: ErrorInfo | None = None
    plan: Plan | None = None
    plan_job_id: int | None = None
    idempotency_key: str | None = None
    fingerprint: str = ""
    plan_fingerprint: str = ""
    created_at_ms: int
    started_at_ms: int | None = None
    finished_at_ms: int | None = None
    retried_at_ms: int | None = None
    updated_at_ms: int


def tasks_live(job: Job) -> int:
    """How many of the tasks planned so far have not ended."""
    return job.tasks_planned - job.tasks_succeeded - job.tasks_failed - job.tasks_cancelled


def begin_planning(job: Job, *, promise: Job | None, now_ms: int) -> Job:
    """Its turn has come; `promise` is a dry run that has been made of it."""
    job = _move(job, JobState.PLANNING, now_ms)
    return job if promise is None else replace(job, plan=promise.plan, plan_job_id=promise.id)


def found(job: Job, rows: Sequence[ObjectRow], *, surveyed: bool, now_ms: int) -> Job:
    """`rows` are more of its objects; once some are known, or that there are none, it runs."""
    deletes = sum(row.action is Action.DELETE and row.outcome is Outcome.PENDING for row in rows)
    transfers = sum(row.action is Action.TRANSFER and row.outcome is Outcome.PENDING for row in rows)
    planning = replace(
        job.planning,
        surveyed=surveyed,
        rows_found=job.planning.rows_found + len(rows),
        transfers_waiting=job.planning.transfers_waiting + transfers,
        deletes_waiting=job.planning.deletes_waiting + deletes,
        deletes_found=job.planning.deletes_found + deletes,
    )
    job = _with(_settled(job, rows), planning, now_ms)
    return _move(job, JobState.RUNNING, now_ms) if job.state is JobState.PLANNING else job


def refuses_deletes(job: Job) -> bool:
    """Whether what a mirror would delete stays, all of it."""
    planning, spec = job.planning, job.spec
    lost = plans.is_source_empty(planning) and not spec.allow_empty_source
    return planning.survey_failed or lost or planning.deletes_found > spec.max_deletes


def compared(job: Job, survey: SurveyResult) -> Job:
    """Adds what a stretch of a survey has found to agree, its plan and its roots."""
    agree = Transfer(
        objects_planned=survey.unchanged,
        objects_skipped=survey.unchanged,
        bytes_logical=survey.unchanged_bytes,
        bytes_deduplicated=survey.unchanged_bytes,
    )
    planning = replace(
        job.planning,
        cursor=survey.cursor,
        compared=min(job.planning.compared + survey.compared, BYTES_MAX),
        source_root=survey.source_root,
        destination_root=survey.destination_root,
    )
    job = replace(job, planning=planning, ended=accounting.add(job.ended, agree))
    return replace(job, plan=_plan(job.spec, survey), plan_job_id=job.id) if job.spec.dry_run else job


def assigned(job: Job, task: Task, rows: Sequence[ObjectRow], *, now_ms: int) -> Job:
    """`task` was made, to deal with `rows`."""
    planning = _without(job.planning, rows)
    if task.kind is TaskKind.SURVEY:
        planning = replace(planning, survey_live=True)
    return _with(replace(job, tasks_planned=job.tasks_planned + 1), planning, now_ms)


def closed(job: Job, rows: Sequence[ObjectRow], *, now_ms: int) -> Job:
    """`rows`, which no task was made for, have settled; the job says why, where they failed."""
    error = next((row.error for row in rows if row.outcome is Outcome.FAILED), None)
    job = replace(_settled(job, rows), error=_reason(job, error))
    return settle(_with(job, _without(job.planning, rows), now_ms), now_ms=now_ms)


def reopened(job: Job, before: Sequence[ObjectRow], *, until_row: int, now_ms: int) -> Job:
    """`before`, which are all up to `until_row` that are to be tried again, count no more and wait for a task."""
    ended = accounting.subtract(job.ended, accounting.of_rows(before))
    deletes = sum(row.action is Action.DELETE for row in before)
    planning = replace(
        job.planning,
        reopened_row=until_row,
        transfers_waiting=job.planning.transfers_waiting + len(before) - deletes,
        deletes_waiting=job.planning.deletes_waiting + deletes,
    )
    return settle(_with(replace(job, ended=ended), planning, now_ms), now_ms=now_ms)


def pause(job: Job, *, now_ms: int) -> Job:
    """No more tasks are handed out. Pausing again changes nothing.

    Raises:
        Conflict: the job has ended, or is about to.
    """
    return job if job.state is JobState.PAUSED else _move(job, JobState.PAUSED, now_ms)


def resume(job: Job, *, now_ms: int) -> Job:
    """Goes on where it was; a job that is not paused stays as it is.

    Raises:
        Conflict: the job has ended, or is about to.
    """
    if job.state in LIVE - {JobState.PAUSED, JobState.CANCELLING}:
        return job
    _require(job, job.state is JobState.PAUSED)
    if not job.tasks_planned:
        return _move(job, JobState.QUEUED, now_ms)
    begun = job.planning.surveyed or job.planning.cursor is not None or job.planning.survey_failed
    return _move(job, JobState.RUNNING if begun else JobState.PLANNING, now_ms)


def cancel(job: Job, *, now_ms: int) -> Job:
    """Asked to end; ended once nothing of it is left (see `settle`). Asking twice changes nothing.

    Raises:
        Conflict: the job has ended otherwise.
    """
    if job.state in {JobState.CANCELLING, JobState.CANCELLED}:
        return job
    _require(job, job.state in LIVE)
    return replace(_move(job, JobState.CANCELLING, now_ms), postponed=False)


def retry(job: Job, *, now_ms: int) -> Job:
    """A job that has ended runs again, for what failed in it. A deadline that is over holds no more.

    Raises:
        Conflict: it lives, or nothing in it can be tried again.
    """
    objects = job.ended.objects_failed > 0 and specs.changes_something(job.spec)
    if job.state in LIVE:
        raise Conflict(f"job {job.id} is {job.state}; wait for its end, or cancel it", job=job.id)
    if job.state is JobState.CANCELLED or not (objects or job.planning.survey_failed):
        raise Conflict(
            f"job {job.id} has {_ENDING[job.state]} and there is nothing in it to try again; submit a new one",
            job=job.id,
            job_status=job.state,
        )
    until = job.planning.rows_found if objects else 0
    planning = replace(job.planning, survey_failed=False, reopened_row=0, reopen_until=until)
    over = job.deadline_at_ms is not None and job.deadline_at_ms <= now_ms
    return replace(
        _move(job, JobState.RUNNING, now_ms),
        planning=planning,
        plan_rank_ms=fairness.plan_rank(now_ms=now_ms, priority=job.priority),
        deadline_at_ms=None if over else job.deadline_at_ms,
        finished_at_ms=None,
        retried_at_ms=now_ms,
    )


def change(
    job: Job, *, priority: int, bytes_per_second: int | None, tasks_max: int | None, now_ms: int
) -> Job:
    """Another priority, which moves its place among jobs to be planned, rate, or number of tasks at a time.

    Raises:
        Conflict: the job has ended.
    """
    _require(job, job.state in LIVE)
    return replace(
        job,
        priority=priority,
        plan_rank_ms=fairness.moved(job.plan_rank_ms, before=job.priority, priority=priority),
        bytes_per_second=bytes_per_second,
        tasks_max=tasks_max,
        updated_at_ms=now_ms,
    )


def attempt_begun(job: Job, *, now_ms: int) -> Job:
    """A node has taken one of its tasks."""
    started_at_ms = now_ms if job.started_at_ms is None else job.started_at_ms
    return replace(job, attempts=job.attempts + 1, started_at_ms=started_at_ms, updated_at_ms=now_ms)


def attempt_ended(
    job: Job, task: Task, rows: Sequence[ObjectRow], *, error: ErrorInfo | None, now_ms: int
) -> Job:
    """Adds `rows`, which have settled, and ends the job with its last task. The last failure is kept."""
    added, changes = accounting.of_rows(rows), {"error": _reason(job, error), "updated_at_ms": now_ms}
    if task.state not in _COUNTED:
        return replace(job, ended=accounting.add(job.ended, added), **changes)
    added = accounting.add(added, accounting.of_ended(task))
    job = replace(job, ended=accounting.add(job.ended, added), **changes, **_by_end_of(job, task))
    return settle(job, now_ms=now_ms)


def settle(job: Job, *, now_ms: int) -> Job:
    """The job, ended if nothing of it is left to do."""
    cancelling = job.state is JobState.CANCELLING
    left = plans.rows_waiting(job.planning) > 0 if cancelling else not plans.is_complete(job.planning)
    if left or tasks_live(job) or job.state not in {JobState.RUNNING, JobState.PAUSED, JobState.CANCELLING}:
        return job
    state = outcome(job)
    error = None if state is JobState.SUCCEEDED else job.error
    return replace(_move(job, state, now_ms), error=error, finished_at_ms=now_ms)


def outcome(job: Job) -> JobState:
    """How a job of which nothing is left to do ends: a failed object is never called a success."""
    if job.state is JobState.CANCELLING:
        return JobState.CANCELLED
    if not job.ended.objects_failed and not job.planning.survey_failed:
        return JobState.SUCCEEDED
    done = job.ended.objects_verified + job.ended.objects_skipped + job.ended.objects_deleted
    return JobState.PARTIAL if done else JobState.FAILED


DEADLINE_EXCEEDED = "deadline-exceeded"
"""Code of the error of a job that was cancelled because it had not ended in time."""
_REFUSED = "invalid-request"
"""What a node says of a cursor that it cannot go on from: a retry must not give it that again."""
_COUNTED = {
    TaskState.SUCCEEDED: "tasks_succeeded",
    TaskState.FAILED: "tasks_failed",
    TaskState.CANCELLED: "tasks_cancelled",
}
_ENDING = {
    JobState.SUCCEEDED: "succeeded",
    JobState.PARTIAL: "ended, with some objects failed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "been cancelled",
}


def _plan(spec: JobSpec, survey: SurveyResult) -> Plan | None:
    """Of a verification: it looks at what only the destination has, and deletes nothing."""
    if survey.plan is None or spec.kind is not JobKind.VERIFY:
        return survey.plan
    return survey.plan.model_copy(update={"objects_to_delete": 0})


def _by_end_of(job: Job, task: Task) -> dict[str, Any]:
    """What the end of `task` changes besides what is summed."""
    counted = _COUNTED[task.state]
    changes: dict[str, Any] = {counted: getattr(job, counted) + 1}
    if task.kind is TaskKind.SURVEY:
        failed = task.state is TaskState.FAILED
        planning = replace(job.planning, survey_live=False, survey_failed=failed)
        refused = failed and task.error is not None and task.error.code == _REFUSED
        changes["planning"] = plans.begun_anew(planning) if refused else planning
    if job.state is JobState.PLANNING:
        # A survey that failed before it found anything ends the planning all the same.
        changes["state"] = JobState.RUNNING
    return changes


def _reason(job: Job, error: ErrorInfo | None) -> ErrorInfo | None:
    """What the job failed of last, but for one that was cancelled in the end for being late."""
    late = job.state is JobState.CANCELLING and job.error is not None and job.error.code == DEADLINE_EXCEEDED
    return job.error if late else error or job.error


def _settled(job: Job, rows: Sequence[ObjectRow]) -> Job:
    return replace(job, ended=accounting.add(job.ended, accounting.of_rows(rows))) if rows else job


def _without(planning: Planning, rows: Sequence[ObjectRow]) -> Planning:
    deletes = sum(row.action is Action.DELETE for row in rows)
    return replace(
        planning,
        transfers_waiting=planning.transfers_waiting - len(rows) + deletes,
        deletes_waiting=planning.deletes_waiting - deletes,
    )


def _with(job: Job, planning: Planning, now_ms: int) -> Job:
    return replace(job, planning=planning, updated_at_ms=now_ms)


def _require(job: Job, allowed: bool) -> None:
    if not allowed:
        how = _ENDING.get(job.state)
        said = f"is {job.state}" if how is None else f"has already {how}"
        raise Conflict(f"job {job.id} {said}", job=job.id, job_status=job.state)


def _move(job: Job, state: JobState, now_ms: int) -> Job:
    _require(job, state in TRANSITIONS[job.state])
    return replace(job, state=state, updated_at_ms=now_ms)
