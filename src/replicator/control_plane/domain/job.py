"""Jobs: their states, every move between them, and what the end of a task means for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from replicator.control_plane.domain import accounting
from replicator.control_plane.domain.task import Task, TaskState
from replicator.kernel.errors import Conflict
from replicator.kernel.names import NodeName, ObjectId
from replicator.wire.sessions import ErrorInfo, Transfer


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
    _S.QUEUED: frozenset({_S.PLANNING, _S.CANCELLING}),
    _S.PLANNING: frozenset({_S.RUNNING, _S.CANCELLING}),
    _S.RUNNING: frozenset({_S.PAUSED, _S.CANCELLING}) | _ENDED,
    # Tasks that were in hand when the job was paused may be its last.
    _S.PAUSED: frozenset({_S.RUNNING, _S.CANCELLING}) | _ENDED,
    _S.SUCCEEDED: frozenset(),
    _S.PARTIAL: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLING: frozenset({_S.CANCELLED}),
    _S.CANCELLED: frozenset(),
}
TERMINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)
LIVE = frozenset(JobState) - TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateSpec:
    """Copy one object from one node to another."""

    src_node: NodeName
    dst_node: NodeName
    object_id: ObjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a user asked for. `ended` sums the tasks that have ended; `cursor` is where planning goes on."""

    id: int
    spec: MigrateSpec
    state: JobState = JobState.QUEUED
    cursor: str | None = None
    tasks_planned: int = 0
    tasks_succeeded: int = 0
    tasks_failed: int = 0
    tasks_cancelled: int = 0
    ended: Transfer = field(default_factory=Transfer)
    attempts: int = 0
    error: ErrorInfo | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None
    created_at_ms: int
    started_at_ms: int | None = None
    finished_at_ms: int | None = None
    updated_at_ms: int


def tasks_live(job: Job) -> int:
    """How many of the tasks planned so far have not ended."""
    return job.tasks_planned - job.tasks_succeeded - job.tasks_failed - job.tasks_cancelled


def begin_planning(job: Job, *, now_ms: int) -> Job:
    """Its turn has come; a job that planning was interrupted in goes on."""
    return job if job.state is JobState.PLANNING else _move(job, JobState.PLANNING, now_ms)


def planned(job: Job, *, tasks: int, cursor: str | None, now_ms: int) -> Job:
    """`tasks` more are planned; without a `cursor` there are no more to come."""
    job = replace(job, tasks_planned=job.tasks_planned + tasks, cursor=cursor, updated_at_ms=now_ms)
    return job if cursor is not None else settle(_move(job, JobState.RUNNING, now_ms), now_ms=now_ms)


def pause(job: Job, *, now_ms: int) -> Job:
    """No more tasks are handed out."""
    return _move(job, JobState.PAUSED, now_ms)


def resume(job: Job, *, now_ms: int) -> Job:
    """Goes on after a pause."""
    return _move(job, JobState.RUNNING, now_ms)


def cancel(job: Job, *, now_ms: int) -> Job:
    """Asked to end; ended once no task is live (see `settle`). Asking twice changes nothing.

    Raises:
        Conflict: the job has ended otherwise.
    """
    if job.state in {JobState.CANCELLING, JobState.CANCELLED}:
        return job
    if job.state in TERMINAL:
        raise Conflict(f"job {job.id} has already {_ENDING[job.state]}", job=job.id, job_status=job.state)
    return _move(job, JobState.CANCELLING, now_ms)


def attempt_begun(job: Job, *, now_ms: int) -> Job:
    """A node has taken one of its tasks."""
    started_at_ms = now_ms if job.started_at_ms is None else job.started_at_ms
    return replace(job, attempts=job.attempts + 1, started_at_ms=started_at_ms, updated_at_ms=now_ms)


def attempt_failed(job: Job, error: ErrorInfo, *, now_ms: int) -> Job:
    """The last failure is kept, also while a retry is to come."""
    return replace(job, error=error, updated_at_ms=now_ms)


def task_ended(job: Job, task: Task, *, now_ms: int) -> Job:
    """Adds the numbers of a task that has ended, and ends the job with its last one."""
    counted = {
        TaskState.SUCCEEDED: "tasks_succeeded",
        TaskState.FAILED: "tasks_failed",
        TaskState.CANCELLED: "tasks_cancelled",
    }[task.state]
    changes: dict[str, Any] = {counted: getattr(job, counted) + 1}
    ended = accounting.add(job.ended, accounting.in_the_end(task))
    return settle(replace(job, ended=ended, updated_at_ms=now_ms, **changes), now_ms=now_ms)


def settle(job: Job, *, now_ms: int) -> Job:
    """The job, ended if nothing of it is left to do."""
    if tasks_live(job) or job.state not in {JobState.RUNNING, JobState.PAUSED, JobState.CANCELLING}:
        return job
    state = outcome(job)
    error = None if state is JobState.SUCCEEDED else job.error
    return replace(_move(job, state, now_ms), error=error, finished_at_ms=now_ms)


def outcome(job: Job) -> JobState:
    """How a job whose tasks have all ended ends: a failed object is never called a success."""
    if job.state is JobState.CANCELLING:
        return JobState.CANCELLED
    if not job.tasks_failed:
        return JobState.SUCCEEDED
    return JobState.PARTIAL if job.tasks_succeeded else JobState.FAILED


_ENDING = {
    JobState.SUCCEEDED: "succeeded",
    JobState.PARTIAL: "ended, with some objects failed",
    JobState.FAILED: "failed",
}


def _move(job: Job, state: JobState, now_ms: int) -> Job:
    if state not in TRANSITIONS[job.state]:
        raise Conflict(f"a job cannot go from {job.state} to {state}", job=job.id)
    return replace(job, state=state, updated_at_ms=now_ms)
