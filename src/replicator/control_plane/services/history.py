"""Jobs wherever they are: among those that live or have just ended, or in history. Reads inside a unit.

A job that ended a while ago is moved to history with its tasks, a page of them at a time, and its row goes with
the last page. From the first page on nothing may change it any more, so what is moved is never moved back.
"""

from __future__ import annotations

from collections.abc import Sequence

from replicator.control_plane.domain.job import LIVE, Job, JobState
from replicator.control_plane.domain.task import Task
from replicator.control_plane.ports import Unit
from replicator.kernel.errors import Conflict, NotFound


def job_of(unit: Unit, job_id: int) -> Job:
    """The job, or `NotFound` where there is none, or no longer."""
    job = unit.jobs.get(job_id) or unit.history.get(job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}", job=job_id)
    return job


def job_to_change(unit: Unit, job_id: int) -> Job:
    """The job, which is not in history.

    Raises:
        NotFound: there is none, or no longer.
        Conflict: it is in history.
    """
    job = job_of(unit, job_id)
    if job.state not in LIVE and _is_in_history(unit, job_id):
        raise Conflict(
            f"job {job_id} ended a while ago ({job.state}) and is in history, where nothing changes any more; "
            "submit a new one, which finds what has arrived and moves only the rest",
            job=job_id,
            job_status=job.state,
        )
    return job


def by_idempotency_key(unit: Unit, key: str) -> Job | None:
    """The job that was submitted under `key`, for as long as it is kept."""
    return unit.jobs.by_idempotency_key(key) or unit.history.by_idempotency_key(key)


def page(unit: Unit, *, before: int | None, limit: int, state: JobState | None) -> Sequence[Job]:
    """At most `limit` jobs with ids below `before`, newest first."""
    found = unit.jobs.page(before=before, limit=limit, state=state)
    above = found[-1].id if len(found) == limit else 0
    older = unit.history.page(before=before, above=above, limit=limit, state=state)
    return sorted([*found, *older], key=lambda job: -job.id)[:limit] if older else found


def task_of(unit: Unit, task_id: int) -> Task:
    """The task, or `NotFound` where there is none, or no longer."""
    task = unit.tasks.get(task_id) or unit.history.task(task_id)
    if task is None:
        raise NotFound(f"there is no task {task_id}", task=task_id)
    return task


def _is_in_history(unit: Unit, job_id: int) -> bool:
    return unit.jobs.get(job_id) is None or unit.history.holds_tasks_of(job_id)
