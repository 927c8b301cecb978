"""What the news of an attempt means for its task and its job. Synchronous work inside a unit."""

from __future__ import annotations

from typing import Any, Literal

from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain import policy as policies
from replicator.control_plane.domain import task as tasks
from replicator.control_plane.domain.job import Job
from replicator.control_plane.domain.policy import RetryPolicy
from replicator.control_plane.domain.task import Task, TaskState
from replicator.control_plane.ports import Event, Unit
from replicator.kernel.names import NodeName
from replicator.wire.sessions import ErrorInfo, TaskProgress, TaskResult

Outcome = Literal["succeeded", "failed", "cancelled", "lost"]

_NO_REASON = ErrorInfo(error_class="transient", code="internal", message="the node gave no reason")


def apply_result(unit: Unit, node: NodeName, result: TaskResult, policy: RetryPolicy) -> None:
    """Let `result` count if the fencing rule allows it, or refuse it as stale; either way it is dealt with."""
    ours = result.control_plane == unit.control_plane
    task = unit.tasks.get(result.task_id) if ours else None
    if (
        task is None
        or (task.dst_node, task.object_id) != (node, result.object_id)
        or not tasks.is_held_by(task, epoch=result.epoch, boot_id=result.boot_id)
    ):
        _note_refusal(unit, node, result, task)
        return
    task = tasks.report(task, result.transfer, now_ms=unit.now_ms)
    error = _error_of(task, result)
    conclude(unit, task, _after(unit, task, result, error, policy), outcome=result.outcome, error=error)


def record_progress(unit: Unit, task: Task, progress: TaskProgress) -> Task:
    """Keep the numbers of a running attempt, if they are news."""
    reported = tasks.report(task, progress.transfer, now_ms=unit.now_ms)
    if reported is not task:
        unit.tasks.put(reported)
        unit.attempts.progress(reported)
    return reported


def take_back(unit: Unit, task: Task, *, message: str, at_once: bool, policy: RetryPolicy) -> None:
    """End an attempt that nobody will report on any more; `message` says why."""
    error = ErrorInfo(error_class="node-down", code="peer-unreachable", message=message)
    after = policies.after_loss(task, error=error, at_once=at_once, policy=policy, now_ms=unit.now_ms)
    conclude(unit, task, after, outcome="lost", error=error)


def conclude(unit: Unit, before: Task, after: Task, *, outcome: Outcome, error: ErrorInfo | None) -> None:
    """Store the end of the attempt in `before`, which led to `after`, and what follows for the job."""
    unit.attempts.end(
        task_id=before.id,
        epoch=before.epoch,
        outcome=outcome,
        error=error,
        transfer=before.transfer,
        now_ms=unit.now_ms,
    )
    move(unit, after, error=error)


def move(unit: Unit, task: Task, *, error: ErrorInfo | None = None) -> None:
    """Store a task in its new state, and what follows for its job: its last failure, and its end."""
    unit.tasks.put(task)
    wakes = task.dst_node if task.state in {TaskState.READY, TaskState.CANCELLING} else None
    unit.note(_task_event(task, error, wakes))
    ended = task.state in tasks.TERMINAL
    if error is None and not ended:
        return
    job = known_job(unit, task.job_id)
    if error is not None and task.state is not TaskState.CANCELLED:
        job = jobs.attempt_failed(job, error, now_ms=unit.now_ms)
    if ended:
        job = jobs.task_ended(job, task, now_ms=unit.now_ms)
    unit.jobs.put(job)
    if job.state in jobs.TERMINAL:
        unit.note(job_event(job))


def known_job(unit: Unit, job_id: int) -> Job:
    """The job of a task: it must be there."""
    job = unit.jobs.get(job_id)
    assert job is not None
    return job


def job_event(job: Job, *, wakes: str | None = None) -> Event:
    """That `job` went into its state."""
    return Event(name=f"job.{job.state}", fields={"job": job.id, "attempts": job.attempts}, wakes=wakes)


def _error_of(task: Task, result: TaskResult) -> ErrorInfo | None:
    match result.outcome:
        case "succeeded":
            return None
        case "failed":
            return result.error or _NO_REASON
        case "cancelled":
            return ErrorInfo(error_class="node-down", code="cancelled", message=f"{task.dst_node} stopped")


def _after(unit: Unit, task: Task, result: TaskResult, error: ErrorInfo | None, policy: RetryPolicy) -> Task:
    now_ms = unit.now_ms
    if task.state is TaskState.CANCELLING:
        return tasks.cancel(task, now_ms=now_ms)
    if error is None:
        return tasks.succeed(task, version=result.version, manifest=result.manifest, now_ms=now_ms)
    if result.outcome == "cancelled":
        # Nobody asked for it: the node is shutting down.
        return policies.after_loss(task, error=error, at_once=False, policy=policy, now_ms=now_ms)
    return policies.after_failure(task, error=error, policy=policy, now_ms=now_ms)


def _note_refusal(unit: Unit, node: NodeName, result: TaskResult, task: Task | None) -> None:
    fields = {
        "node": node,
        "control_plane": result.control_plane,
        "task": result.task_id,
        "epoch": result.epoch,
        "boot_id": result.boot_id,
        "outcome": result.outcome,
        "task_state": None if task is None else str(task.state),
        "task_epoch": None if task is None else task.epoch,
    }
    unit.note(Event(name="result.refused", fields=fields, level="warning"))


def _task_event(task: Task, error: ErrorInfo | None, wakes: str | None) -> Event:
    fields: dict[str, Any] = {
        "task": task.id,
        "job": task.job_id,
        "node": task.dst_node,
        "epoch": task.epoch,
        "attempt": task.attempt,
    }
    if error is None:
        return Event(name=f"task.{task.state}", fields=fields, wakes=wakes, level="debug")
    fields |= {"error_class": error.error_class, "error_code": error.code, "error": error.message}
    return Event(name=f"task.{task.state}", fields=fields, wakes=wakes, level="warning")
