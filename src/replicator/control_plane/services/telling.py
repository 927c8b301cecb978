"""What is told of jobs and tasks: to the log, to those who wait, and to those who follow a job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue

from replicator.control_plane.domain.job import Job
from replicator.control_plane.domain.object_row import ObjectRow, Outcome
from replicator.control_plane.domain.steps import next_step
from replicator.control_plane.domain.task import Task, TaskState
from replicator.control_plane.ports import SCHEDULER_TOPIC, Event, Unit, job_topic
from replicator.wire.sessions import ErrorInfo, TaskResult


def job_moved(unit: Unit, before: Job | None, job: Job) -> None:
    """`job` was stored; what is new about it since `before`."""
    wakes = [job_topic(job.id)] if next_step(job) is None else [job_topic(job.id), SCHEDULER_TOPIC]
    if before is not None and before.state is job.state:
        unit.note(Event(name="progress.made", fields={"job": job.id}, wakes=wakes, level="debug"))
        return
    fields: dict[str, JsonValue] = {"attempts": job.attempts}
    if job.error is not None:
        fields |= {"error_code": job.error.code, "error": job.error.message}
    unit.events.append(job.id, f"job.{job.state}", fields)
    unit.note(Event(name=f"job.{job.state}", fields={"job": job.id, **fields}, wakes=wakes))


def job_event(
    unit: Unit, job_id: int, name: str, fields: dict[str, JsonValue], *, warns: bool = False
) -> None:
    """Something happened to a job that is no change of its state."""
    unit.events.append(job_id, name, fields)
    unit.note(
        Event(
            name=name,
            fields={"job": job_id, **fields},
            wakes=[job_topic(job_id)],
            level="warning" if warns else "info",
        )
    )


def failures(unit: Unit, settled: Sequence[ObjectRow]) -> None:
    """Those of `settled`, all of one job, that have failed for good."""
    failed = [row for row in settled if row.outcome is Outcome.FAILED]
    if failed:
        unit.events.append(failed[0].job_id, "object.failed", *map(_failure, failed))


def task(unit: Unit, told: Task, error: ErrorInfo | None = None) -> None:
    """`told` was stored, after `error` if there was one. Wakes the node that has something to do about it."""
    fields: dict[str, Any] = {
        "task": told.id,
        "job": told.job_id,
        "node": told.dst_node,
        "kind": str(told.kind),
        "epoch": told.epoch,
        "attempt": told.attempt,
    }
    stops = told.state is TaskState.CANCELLING or (told.state is TaskState.LEASED and told.stop_asked)
    wakes = [told.dst_node] if stops or told.state is TaskState.READY else []
    if error is None:
        unit.note(Event(name=f"task.{told.state}", fields=fields, wakes=wakes, level="debug"))
        return
    fields |= {"error_class": error.error_class, "error_code": error.code, "error": error.message}
    unit.note(Event(name=f"task.{told.state}", fields=fields, wakes=wakes, level="warning"))


def corruption(unit: Unit, told: Task, result: TaskResult) -> None:
    """Chunks that a source has damaged, by what the destination says."""
    for found in result.corrupt:
        fields: dict[str, JsonValue] = {"node": found.node, "digest": found.digest, "task": told.id}
        job_event(unit, told.job_id, "source.corrupt", fields, warns=True)


def strangers(unit: Unit, told: Task, rows: Sequence[int]) -> None:
    """A result named objects that are not the task's, or have settled: they are left as they are."""
    if rows:
        fields = {"task": told.id, "job": told.job_id, "node": told.dst_node, "rows": list(rows)}
        unit.note(Event(name="result.strangers", fields=fields, level="warning"))


def _failure(row: ObjectRow) -> dict[str, JsonValue]:
    fields: dict[str, JsonValue] = {"row": row.id, "bucket": row.bucket, "object_id": row.object_id}
    if row.error is not None:
        fields |= {"error_code": row.error.code, "error": row.error.message}
    return fields
