"""What the clock brings to jobs: their start and their deadline. Synchronous work inside a unit, in pages.

Each looks for what is due inside its own transaction, so it may be done again, and by anybody.
"""

from __future__ import annotations

from replicator.control_plane.domain import schedule
from replicator.control_plane.ports import Unit
from replicator.control_plane.services import moving, telling

STARTED_MAX = 100
OVERDUE_MAX = 4
"""Each may have as many live tasks as a job can, which end with it."""


def next_start_ms(unit: Unit) -> int | None:
    """When the next postponed job is due to begin."""
    return unit.jobs.next_start_ms()


def next_deadline_ms(unit: Unit) -> int | None:
    """When the next job that lives and is not being cancelled is due to have ended."""
    return unit.jobs.next_deadline_ms()


def start_due(unit: Unit) -> None:
    """Let jobs begin whose start has come; those that are paused begin when they are resumed."""
    for job in unit.jobs.to_start(now_ms=unit.now_ms, limit=STARTED_MAX):
        begun = schedule.begin(job, now_ms=unit.now_ms)
        unit.jobs.put(begun)
        telling.job_event(unit, job.id, "start.due", {})
        telling.job_moved(unit, job, begun)


def end_overdue(unit: Unit) -> None:
    """Cancel jobs that live at their deadline."""
    for job in unit.jobs.overdue(now_ms=unit.now_ms, limit=OVERDUE_MAX):
        moving.move(unit, job, schedule.overdue(job, now_ms=unit.now_ms), moving.cancel_task)
