"""What the news of an attempt means for its task, its objects and its job. Synchronous work inside a unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain import policy as policies
from replicator.control_plane.domain import settlement
from replicator.control_plane.domain import task as tasks
from replicator.control_plane.domain import transfer as transfers
from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.object_row import ObjectRow
from replicator.control_plane.domain.object_row import Outcome as ObjectOutcome
from replicator.control_plane.domain.policy import RetryPolicy
from replicator.control_plane.domain.settlement import Settlement
from replicator.control_plane.domain.task import Task, TaskKind, TaskState
from replicator.control_plane.ports import Event, Unit, source_topic
from replicator.control_plane.services import surveys, telling
from replicator.kernel.names import NodeName
from replicator.wire.sessions import ErrorInfo, TaskProgress, TaskResult

Outcome = Literal["succeeded", "failed", "cancelled", "lost"]

OBJECTS_AT_ONCE = 4096
"""Objects of results that are read, and kept until they are written, at one time."""
_NO_REASON = ErrorInfo(error_class="transient", code="internal", message="the node gave no reason")
_ENDS = {TaskState.FAILED: ObjectOutcome.FAILED, TaskState.CANCELLED: ObjectOutcome.CANCELLED}


def in_groups(results: Sequence[TaskResult]) -> Iterator[Sequence[TaskResult]]:
    """`results` in their order, by as many at a time as name no more than `OBJECTS_AT_ONCE` objects."""
    group: list[TaskResult] = []
    objects = 0
    for result in results:
        if group and objects + len(result.objects) > OBJECTS_AT_ONCE:
            yield group
            group, objects = [], 0
        group.append(result)
        objects += len(result.objects)
    if group:
        yield group


def read_ahead(unit: Unit, results: Sequence[TaskResult]) -> None:
    """Read at once what `apply_result` will ask for, result by result."""
    ours = frozenset(each.task_id for each in results if each.control_plane == unit.control_plane)
    found = unit.tasks.get_many(ours)
    unit.objects.pending_of_many([task for task in found.values() if task.items])
    unit.jobs.get_many(frozenset(task.job_id for task in found.values()))


def apply_result(unit: Unit, node: NodeName, result: TaskResult, policy: RetryPolicy) -> NodeName | None:
    """Let `result` count if the fencing rule allows it, or refuse it as stale; either way it is dealt with.

    Returns the source that the attempt read from, if it counts.
    """
    ours = result.control_plane == unit.control_plane
    task = unit.tasks.get(result.task_id) if ours else None
    if (
        task is None
        or task.dst_node != node
        or not tasks.is_held_by(task, epoch=result.epoch, boot_id=result.boot_id)
    ):
        _note_refusal(unit, node, result, task)
        return None
    telling.corruption(unit, task, result)
    task = tasks.report(task, transfers.of_wire(result.transfer), now_ms=unit.now_ms)
    if task.kind is TaskKind.SURVEY:
        _apply_survey(unit, task, result, policy)
    else:
        _apply_objects(unit, task, result, policy)
    return task.src_node


def record_progress(unit: Unit, task: Task, progress: TaskProgress) -> Task:
    """Keep the numbers of a running attempt, if they are news."""
    reported = tasks.report(task, transfers.of_wire(progress.transfer), now_ms=unit.now_ms)
    if reported is not task:
        unit.tasks.put(reported)
        unit.attempts.progress(reported)
    return reported


def take_back(
    unit: Unit, task: Task, *, message: str, at_once: bool, ended: bool, policy: RetryPolicy
) -> None:
    """End an attempt that nobody will report on any more; `message` says why, `ended` whether its process is lost."""
    error = ErrorInfo(error_class="node-down", code="peer-unreachable", message=message)
    after = policies.after_loss(
        task, error=error, at_once=at_once, ended=ended, policy=policy, now_ms=unit.now_ms
    )
    if after.state is TaskState.FAILED:
        error = after.error or error
    conclude(unit, task, after, outcome="lost", error=error)


def stopped(unit: Unit, task: Task) -> None:
    """The node has stopped, as it was asked to, or never took the task: it ends, or waits as its job does."""
    conclude(unit, task, _after_stop(unit, task), outcome="cancelled", error=None)


def fail_without_source(unit: Unit, task: Task) -> bool:
    """Fail a task whose source is no longer registered, for nobody can be told where it is.

    Returns whether that is so. One bad task must not keep its node from all the others.
    """
    if unit.nodes.get(task.src_node) is not None:
        return False
    error = ErrorInfo(
        error_class="permanent",
        code="not-found",
        message=f"there is no node '{task.src_node}' any more: register it and retry the job",
    )
    after = tasks.fail(task, error=error, now_ms=unit.now_ms)
    if task.lease is None:
        move(unit, after, error=error)
    else:
        conclude(unit, task, after, outcome="failed", error=error)
    # Others may be ready that there was no room for.
    unit.note(Event(name="task.unassignable", fields={"task": task.id}, wakes=[task.dst_node], level="debug"))
    return True


def fail_as_poison(unit: Unit, task: Task, *, boot_id: str, policy: RetryPolicy) -> Task | None:
    """A ready task as the process `boot_id` of its node is to have it; None if too many were lost with it before."""
    found = policies.before_claim(task, boot_id=boot_id, policy=policy, now_ms=unit.now_ms)
    if found.state is not TaskState.FAILED:
        return found
    move(unit, found, error=found.error)
    # Others may be ready that there was no room for.
    unit.note(Event(name="task.poison", fields={"task": task.id}, wakes=[task.dst_node], level="debug"))
    return None


def conclude(
    unit: Unit,
    before: Task,
    after: Task,
    *,
    outcome: Outcome,
    error: ErrorInfo | None,
    rows: Settlement | None = None,
) -> None:
    """Store the end of the attempt in `before`, which led to `after`, and what follows for the job.

    Args:
        rows: what the attempt meant for the objects; None where nothing is known of it.
    """
    unit.attempts.end(
        task_id=before.id,
        epoch=before.epoch,
        outcome=outcome,
        error=error,
        transfer=before.transfer,
        now_ms=unit.now_ms,
    )
    if (
        before.stop_asked
        and after.state in {TaskState.READY, TaskState.SCHEDULED}
        and _is_paused(unit, after)
    ):
        after = tasks.hold(after, now_ms=unit.now_ms)
    move(unit, after, error=error, rows=rows)
    # Others may have waited for its place: at its source, or, where the node has not said so itself, at the node.
    freed = [source_topic(before.src_node), *([before.dst_node] if outcome == "lost" else [])]
    unit.note(Event(name="attempt.ended", fields={"task": before.id}, wakes=freed, level="debug"))


def move(unit: Unit, task: Task, *, error: ErrorInfo | None = None, rows: Settlement | None = None) -> None:
    """Store a task in its new state, and what follows for its objects and its job: failures, and their ends."""
    task, settled = _end_all(unit, task, error) if rows is None else _settle(unit, task, rows)
    unit.tasks.put(task)
    telling.task(unit, task, error)
    if error is None and not settled and task.state not in tasks.TERMINAL:
        return
    job = known_job(unit, task.job_id)
    reason = None if task.state is TaskState.CANCELLED else error or _first_error(settled)
    after = jobs.attempt_ended(job, task, settled, error=reason, now_ms=unit.now_ms)
    unit.jobs.put(after)
    telling.failures(unit, settled)
    telling.job_moved(unit, job, after)


def known_job(unit: Unit, job_id: int) -> Job:
    """The job of a task: it must be there."""
    job = unit.jobs.get(job_id)
    assert job is not None
    return job


def _settle(unit: Unit, task: Task, rows: Settlement) -> tuple[Task, Sequence[ObjectRow]]:
    """Store `rows`; `task` with those that have settled. What it has left when it ends otherwise than well ends
    with it."""
    settled, waiting = rows.settled, rows.waiting
    if task.state in _ENDS and waiting:
        closed = settlement.close(task, waiting, _ENDS[task.state], error=None)
        task, settled, waiting = closed.task, [*settled, *closed.settled], ()
    unit.objects.put_many([*settled, *waiting])
    return task, settled


def _end_all(unit: Unit, task: Task, error: ErrorInfo | None) -> tuple[Task, Sequence[ObjectRow]]:
    """What a task of whose attempt nothing is known has left ends with it; the task, and those rows that add
    anything to the job. All but the one that is given the bytes are stored at once: they may be many."""
    if task.state not in _ENDS or task.items == 0:
        return task, ()
    outcome = _ENDS[task.state]
    fails = outcome is ObjectOutcome.FAILED
    reason = error if fails else None
    left = unit.objects.pending_of(task, limit=None if fails else 1)
    closed = settlement.close(task, left, outcome, error=reason)
    unit.objects.put_many(closed.settled[:1])
    unit.objects.end(task, outcome, error=reason)
    return closed.task, closed.settled


def _apply_objects(unit: Unit, task: Task, result: TaskResult, policy: RetryPolicy) -> None:
    error = _error_of(task, result)
    unnamed = {"succeeded": settlement.UNSAID, "failed": error, "cancelled": None}[result.outcome]
    rows = settlement.of_result(task, unit.objects.pending_of(task), result.objects, error=unnamed)
    telling.strangers(unit, task, rows.strangers)
    if not rows.waiting:
        after, error = _after_all(rows.task, rows, unit.now_ms)
    elif _was_asked(task, result):
        after, error = _after_stop(unit, rows.task), None
    else:
        error = error if result.outcome == "cancelled" else _gravest(rows.waiting)
        after = _after(rows.task, result, error or _NO_REASON, policy, unit.now_ms)
    conclude(unit, task, after, outcome=result.outcome, error=error, rows=rows)


def _apply_survey(unit: Unit, task: Task, result: TaskResult, policy: RetryPolicy) -> None:
    error = _error_of(task, result)
    if error is None and task.state is not TaskState.CANCELLING:
        error = surveys.take(unit, known_job(unit, task.job_id), result.survey)
    if task.state is TaskState.CANCELLING or _was_asked(task, result):
        after, error = _after_stop(unit, task), None
    elif error is None:
        after = tasks.succeed(task, now_ms=unit.now_ms)
    else:
        after = _after(task, result, error, policy, unit.now_ms)
    conclude(unit, task, after, outcome=result.outcome, error=error)


def _was_asked(task: Task, result: TaskResult) -> bool:
    """Whether the attempt ended because it was to be stopped."""
    return result.outcome == "cancelled" and (task.stop_asked or task.state is TaskState.CANCELLING)


def _after_all(task: Task, rows: Settlement, now_ms: int) -> tuple[Task, ErrorInfo | None]:
    """The task once all of its objects have settled, and the error that the first that failed has."""
    if task.state is TaskState.CANCELLING:
        return tasks.cancel(task, now_ms=now_ms), None
    error = _first_error(rows.settled)
    if task.items_failed and error is not None:
        return tasks.fail(task, error=error, now_ms=now_ms), error
    return tasks.succeed(task, now_ms=now_ms), None


def _after(task: Task, result: TaskResult, error: ErrorInfo, policy: RetryPolicy, now_ms: int) -> Task:
    if task.state is TaskState.CANCELLING:
        return tasks.cancel(task, now_ms=now_ms)
    if result.outcome != "cancelled":
        return policies.after_failure(task, error=error, policy=policy, now_ms=now_ms)
    # Nobody asked for it: the node is shutting down.
    return policies.after_loss(task, error=error, at_once=False, ended=False, policy=policy, now_ms=now_ms)


def _after_stop(unit: Unit, task: Task) -> Task:
    if task.state is TaskState.CANCELLING:
        return tasks.cancel(task, now_ms=unit.now_ms)
    if _is_paused(unit, task):
        return tasks.hold(task, now_ms=unit.now_ms)
    return tasks.release(task, now_ms=unit.now_ms)


def _is_paused(unit: Unit, task: Task) -> bool:
    return known_job(unit, task.job_id).state is JobState.PAUSED


def _error_of(task: Task, result: TaskResult) -> ErrorInfo | None:
    match result.outcome:
        case "succeeded":
            return None
        case "failed":
            return result.error or _NO_REASON
        case "cancelled":
            return ErrorInfo(error_class="node-down", code="cancelled", message=f"{task.dst_node} stopped")


def _gravest(waiting: Sequence[ObjectRow]) -> ErrorInfo:
    """Of the errors of objects that may be tried again, one that counts, if there is one."""
    errors = [row.error for row in waiting if row.error is not None]
    return next((error for error in errors if error.error_class != "node-down"), errors[0])


def _first_error(settled: Sequence[ObjectRow]) -> ErrorInfo | None:
    return next((row.error for row in settled if row.error is not None), None)


def _note_refusal(unit: Unit, node: NodeName, result: TaskResult, task: Task | None) -> None:
    fields: dict[str, Any] = {
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
