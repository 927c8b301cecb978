"""Dead letters: tasks that have failed for good and that nobody will try again by themselves."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.control_plane.domain.finding import moment
from replicator.control_plane.domain.job import Job
from replicator.control_plane.domain.task import Task
from replicator.control_plane.ports import Database, Unit
from replicator.control_plane.services import cursors
from replicator.wire.jobs import DeadLetter, DeadLetterPage

LOOKED_AT_ONCE = 500
PAGES_LOOKED_AT = 4
"""Failed tasks of jobs that go on, were cancelled or tried again may be many, and are passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """They are those of jobs that can be tried again: a retry takes them off the list, and so does history."""

    database: Database

    async def page(self, *, cursor: str | None, limit: int) -> DeadLetterPage:
        """At most `limit` of them, newest task first."""
        before = None if cursor is None else cursors.after_task(cursor)
        return await self.database.read(lambda unit: _page(unit, before, limit))


def _page(unit: Unit, before: int | None, limit: int) -> DeadLetterPage:
    found, seen_to = _find(unit, before, limit)
    shown = found[:limit]
    go_on = shown[-1].id if len(found) > limit else seen_to
    of = unit.jobs.get_many(frozenset(task.job_id for task in shown))
    return DeadLetterPage(
        dead_letters=[_view(task, of[task.job_id]) for task in shown],
        next_cursor=None if go_on is None else cursors.of_task(go_on),
    )


def _find(unit: Unit, before: int | None, limit: int) -> tuple[list[Task], int | None]:
    """One more than `limit`, where there are so many; otherwise to which task was looked, None for the end."""
    found: list[Task] = []
    for _ in range(PAGES_LOOKED_AT):
        failed = unit.tasks.failed(before=before, limit=LOOKED_AT_ONCE)
        found.extend(unit.tasks.dead(failed, limit=limit + 1 - len(found)))
        if len(failed) < LOOKED_AT_ONCE or len(found) > limit:
            return found, None
        before = failed[-1]
    return found, before


def _view(task: Task, job: Job) -> DeadLetter:
    return DeadLetter(
        task_id=task.id,
        job_id=task.job_id,
        job_status=job.state.value,
        kind=task.kind.value,
        src_node=task.src_node,
        dst_node=task.dst_node,
        error=task.error,
        objects_failed=task.items_failed,
        attempts=task.attempt,
        losses=task.losses,
        failed_at=moment(task.updated_at_ms),
    )
