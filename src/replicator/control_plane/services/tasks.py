"""Tasks and their attempts: shown, whether they live or are in history."""

from __future__ import annotations

from dataclasses import dataclass

from replicator.control_plane.domain import transfer as transfers
from replicator.control_plane.domain.attempt import Attempt
from replicator.control_plane.domain.explain_task import of_task
from replicator.control_plane.domain.finding import Scene, moment
from replicator.control_plane.domain.task import TERMINAL, Task, TaskState
from replicator.control_plane.ports import Database, Unit
from replicator.control_plane.services import cursors, history, scenes
from replicator.wire.tasks import AttemptView, TaskDetail, TaskPage, TaskStatus, TaskView

ATTEMPTS_SHOWN_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """What can be asked about tasks. Methods raise `NotFound` where there is no such job or task."""

    database: Database

    async def page(
        self, job_id: int, *, cursor: str | None, limit: int, status: TaskStatus | None
    ) -> TaskPage:
        """At most `limit` tasks of a job, in the order they were made."""
        after = 0 if cursor is None else cursors.after_task(cursor)
        state = None if status is None else TaskState(status)
        return await self.database.read(lambda unit: _page(unit, job_id, after, limit, state))

    async def get(self, task_id: int) -> TaskDetail:
        """The task with its latest attempts."""
        return await self.database.read(lambda unit: _detail(unit, task_id))


def task_view(task: Task, scene: Scene) -> TaskView:
    """The task as users see it."""
    lease = task.lease
    return TaskView(
        id=task.id,
        job_id=task.job_id,
        src_node=task.src_node,
        dst_node=task.dst_node,
        kind=task.kind.value,
        status=task.state.value,
        waiting_for=None if task.state in TERMINAL else next(of_task(task, scene)).waiting_for,
        priority=task.priority,
        items=task.items,
        items_failed=task.items_failed,
        attempts=task.attempt,
        failures=task.failures,
        losses=task.losses,
        epoch=task.epoch,
        session_id=None if lease is None else lease.session_id,
        boot_id=None if lease is None else lease.boot_id,
        lease_expires_at=None if lease is None else moment(lease.expires_at_ms),
        ready_at=moment(task.ready_at_ms),
        begun_at=None if task.begun_at_ms is None else moment(task.begun_at_ms),
        not_before=None if task.not_before_ms is None else moment(task.not_before_ms),
        parked_for=task.parked_for,
        parked_since=None if task.parked_since_ms is None else moment(task.parked_since_ms),
        transfer=transfers.to_wire(task.transfer),
        error=task.error,
        created_at=moment(task.created_at_ms),
        updated_at=moment(task.updated_at_ms),
    )


def attempt_view(attempt: Attempt) -> AttemptView:
    """The attempt as users see it."""
    return AttemptView.model_validate(
        {
            "attempt": attempt.attempt,
            "epoch": attempt.epoch,
            "session_id": attempt.session_id,
            "boot_id": attempt.boot_id,
            "begun_at": moment(attempt.begun_at_ms),
            "ended_at": None if attempt.ended_at_ms is None else moment(attempt.ended_at_ms),
            "outcome": attempt.outcome,
            "transfer": attempt.transfer._asdict(),
            "error": attempt.error,
        }
    )


def _page(unit: Unit, job_id: int, after: int, limit: int, state: TaskState | None) -> TaskPage:
    history.job_of(unit, job_id)
    found = unit.tasks.of_job(job_id, after=after, limit=limit + 1, state=state)
    shown = found[:limit]
    scene = scenes.of_tasks(unit, shown)
    return TaskPage(
        tasks=[task_view(task, scene) for task in shown],
        next_cursor=cursors.of_task(shown[-1].id) if len(found) > limit else None,
    )


def _detail(unit: Unit, task_id: int) -> TaskDetail:
    task = history.task_of(unit, task_id)
    attempts = unit.attempts.of_task(task_id, limit=ATTEMPTS_SHOWN_MAX)
    view = task_view(task, scenes.of_tasks(unit, [task]))
    return TaskDetail(**dict(view), attempts_latest=[attempt_view(each) for each in attempts])
