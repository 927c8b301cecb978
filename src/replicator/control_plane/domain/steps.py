"""What planning does next for a job. Pure: every step is bounded, and looked for again when it is done."""

from __future__ import annotations

from enum import StrEnum

from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain import planning as plans
from replicator.control_plane.domain import spec as specs
from replicator.control_plane.domain.job import Job, JobState

LIVE_TASKS_MAX = 64
"""A job of any size has no more tasks at a time."""


def tasks_room(job: Job) -> int:
    """How many more tasks may be made of `job` just now."""
    wanted = LIVE_TASKS_MAX if job.tasks_max is None else min(LIVE_TASKS_MAX, job.tasks_max)
    return max(wanted - jobs.tasks_live(job), 0)


class Step(StrEnum):
    """One bounded piece of planning."""

    BEGIN = "begin"
    SURVEY = "survey"
    PULL = "pull"
    REMOVE = "remove"
    REFUSE_DELETES = "refuse-deletes"
    REOPEN = "reopen"
    DROP = "drop"


def next_step(job: Job) -> Step | None:
    """What there is to do; None while the job waits for its tasks, for somebody, or has ended."""
    match job.state:
        case JobState.QUEUED:
            return None if job.postponed else Step.BEGIN
        case JobState.CANCELLING:
            return Step.DROP if plans.rows_waiting(job.planning) else None
        case JobState.PLANNING | JobState.RUNNING:
            return _expand(job) if tasks_room(job) else None
        case _:
            return None


def _expand(job: Job) -> Step | None:
    planning = job.planning
    changes = specs.changes_something(job.spec)
    if changes and planning.transfers_waiting:
        return Step.PULL
    if changes and plans.is_reopening(planning):
        return Step.REOPEN
    if not planning.surveyed and not planning.survey_failed:
        return None if planning.survey_live else Step.SURVEY
    if changes and planning.deletes_waiting:
        # What the source lacks is known only after the whole walk, and so is how much would go.
        return Step.REFUSE_DELETES if jobs.refuses_deletes(job) else Step.REMOVE
    return None
