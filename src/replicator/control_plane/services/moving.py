"""Bringing a job, and with it its live tasks, into another state. Synchronous work inside a unit."""

from __future__ import annotations

from collections.abc import Callable

from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain import task as tasks
from replicator.control_plane.domain.job import Job
from replicator.control_plane.domain.task import Task, TaskState
from replicator.control_plane.ports import Unit
from replicator.control_plane.services import outcomes, telling


def move(unit: Unit, before: Job, after: Job, move_task: Callable[[Task, int], Task]) -> None:
    """Store `after`, and what `move_task` makes of each live task of the job at database time; end it if that is all."""
    unit.jobs.put(after)
    telling.job_moved(unit, before, after)
    for task in unit.tasks.live_of_jobs([after.id]):
        moved = move_task(task, unit.now_ms)
        if moved is not task:
            outcomes.move(unit, moved)
    _settle(unit, outcomes.known_job(unit, after.id))


def cancel_task(task: Task, now_ms: int) -> Task:
    """A task of a job that is cancelled."""
    return task if task.state is TaskState.CANCELLING else tasks.cancel(task, now_ms=now_ms)


def pause_task(task: Task, now_ms: int) -> Task:
    """A task of a job that is paused."""
    if task.state is TaskState.LEASED:
        return tasks.ask_to_stop(task, now_ms=now_ms)
    return tasks.hold(task, now_ms=now_ms)


def resume_task(task: Task, now_ms: int) -> Task:
    """A task of a job that goes on."""
    return tasks.resume(task, now_ms=now_ms) if task.state is TaskState.HELD else task


def leave_task(task: Task, _: int) -> Task:
    """A task that stays as it is."""
    return task


def _settle(unit: Unit, job: Job) -> None:
    """End a job of which nothing is left."""
    settled = jobs.settle(job, now_ms=unit.now_ms)
    if settled is not job:
        unit.jobs.put(settled)
        telling.job_moved(unit, job, settled)
