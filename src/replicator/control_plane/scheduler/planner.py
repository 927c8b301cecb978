"""Turning jobs into tasks, one bounded step at a time: synchronous work inside a unit.

What there is to do is in the job alone (`domain.steps`), so a step that was interrupted is done anew, and one
that was done is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from replicator.control_plane.domain import fairness
from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain import planning as plans
from replicator.control_plane.domain import spec as specs
from replicator.control_plane.domain.job import Job
from replicator.control_plane.domain.object_row import Action, ObjectRow, Outcome
from replicator.control_plane.domain.steps import Step, next_step, tasks_room
from replicator.control_plane.domain.task import Task, TaskKind
from replicator.control_plane.domain.transfer import Transfer
from replicator.control_plane.ports import Unit
from replicator.control_plane.services import telling
from replicator.wire.sessions import ErrorInfo

ROWS_MAX = 2048
"""Rows that one step reads and writes."""


def plan_job(unit: Unit, job: Job) -> None:
    """The next step of `job`, if there is one."""
    step = next_step(job)
    if step is not None:
        after = _STEPS[step](unit, job)
        turn_ms = fairness.plan_rank(now_ms=unit.now_ms, priority=after.priority)
        after = replace(after, plan_rank_ms=turn_ms)
        unit.jobs.put(after)
        telling.job_moved(unit, job, after)


def _drop(unit: Unit, job: Job) -> Job:
    """Cancel rows that no task was made for."""
    rows = [replace(row, outcome=Outcome.CANCELLED) for row in _waiting(unit, job)]
    return _close(unit, job, rows)


def _begin(unit: Unit, job: Job) -> Job:
    promise = unit.jobs.dry_run_before(job) if specs.changes_something(job.spec) else None
    job = jobs.begin_planning(job, promise=promise, now_ms=unit.now_ms)
    if not specs.is_direct(job.spec):
        return _survey(unit, job)
    rows = [
        ObjectRow(id=index, job_id=job.id, bucket=job.spec.bucket or "default", object_id=object_id)
        for index, object_id in enumerate(job.spec.object_ids, start=1)
    ]
    unit.objects.add_many(rows)
    return _assign(unit, jobs.found(job, rows, surveyed=True, now_ms=unit.now_ms), TaskKind.PULL, rows)


def _survey(unit: Unit, job: Job) -> Job:
    task = unit.tasks.add(_task(unit, job, TaskKind.SURVEY))
    telling.task(unit, task)
    return _assigned(unit, job, task, ())


def _pull(unit: Unit, job: Job) -> Job:
    rows = unit.objects.unassigned(job.id, action=Action.TRANSFER, limit=ROWS_MAX)
    return _assign(unit, job, TaskKind.PULL, rows)


def _remove(unit: Unit, job: Job) -> Job:
    rows = unit.objects.unassigned(job.id, action=Action.DELETE, limit=ROWS_MAX)
    return _assign(unit, job, TaskKind.REMOVE, rows)


def _refuse_deletes(unit: Unit, job: Job) -> Job:
    error = _refusal(job)
    rows = unit.objects.unassigned(job.id, action=Action.DELETE, limit=ROWS_MAX)
    return _close(unit, job, [replace(row, outcome=Outcome.FAILED, error=error) for row in rows])


def _reopen(unit: Unit, job: Job) -> Job:
    """What failed, but for what the destination has newer: the source's version would only lie hidden there."""
    planning = job.planning
    found = unit.objects.page(job.id, after_row=planning.reopened_row, limit=ROWS_MAX, outcome=Outcome.FAILED)
    failed = [row for row in found if row.id <= planning.reopen_until]
    before = [row for row in failed if row.finding != "newer"]
    unit.objects.put_many([_reopened(row) for row in before])
    until_row = failed[-1].id if len(failed) == ROWS_MAX else planning.reopen_until
    return jobs.reopened(job, before, until_row=until_row, now_ms=unit.now_ms)


_STEPS: dict[Step, Callable[[Unit, Job], Job]] = {
    Step.BEGIN: _begin,
    Step.SURVEY: _survey,
    Step.PULL: _pull,
    Step.REMOVE: _remove,
    Step.REFUSE_DELETES: _refuse_deletes,
    Step.REOPEN: _reopen,
    Step.DROP: _drop,
}


def _assign(unit: Unit, job: Job, kind: TaskKind, rows: Sequence[ObjectRow]) -> Job:
    for batch in plans.batches(rows)[: tasks_room(job)]:
        task = unit.tasks.add(_with_rows(_task(unit, job, kind), batch))
        unit.objects.give(batch, task)
        telling.task(unit, task)
        job = _assigned(unit, job, task, batch)
    return job


def _assigned(unit: Unit, job: Job, task: Task, rows: Sequence[ObjectRow]) -> Job:
    """`task` was made, and the job's next one goes behind it."""
    clock_ms = fairness.clock_after(now_ms=unit.now_ms, clock_ms=job.rank_ms)
    return replace(jobs.assigned(job, task, rows, now_ms=unit.now_ms), rank_ms=clock_ms)


def _task(unit: Unit, job: Job, kind: TaskKind) -> Task:
    return Task(
        id=0,
        job_id=job.id,
        src_node=job.spec.src_node,
        dst_node=job.spec.dst_node,
        kind=kind,
        priority=job.priority,
        rank_ms=fairness.task_rank(now_ms=unit.now_ms, clock_ms=job.rank_ms, priority=job.priority),
        ready_at_ms=unit.now_ms,
        created_at_ms=unit.now_ms,
        updated_at_ms=unit.now_ms,
    )


def _with_rows(task: Task, rows: Sequence[ObjectRow]) -> Task:
    """`task`, to deal with `rows`; what came for them when they failed before is its credit."""
    logical = sum(row.size or 0 for row in rows) if task.kind is TaskKind.PULL else 0
    return replace(
        task,
        items=len(rows),
        transfer=Transfer(bytes_logical=logical),
        credit_bytes_transferred=sum(row.bytes_transferred for row in rows),
        credit_bytes_saved=sum(row.bytes_saved for row in rows),
    )


def _reopened(row: ObjectRow) -> ObjectRow:
    return replace(row, task_id=None, outcome=Outcome.PENDING, bytes_deduplicated=0)


def _waiting(unit: Unit, job: Job) -> list[ObjectRow]:
    found: list[ObjectRow] = []
    for action in (Action.TRANSFER, Action.DELETE):
        found.extend(unit.objects.unassigned(job.id, action=action, limit=ROWS_MAX - len(found)))
    return found


def _close(unit: Unit, job: Job, rows: Sequence[ObjectRow]) -> Job:
    unit.objects.put_many(rows)
    telling.failures(unit, rows)
    return jobs.closed(job, rows, now_ms=unit.now_ms)


def _refusal(job: Job) -> ErrorInfo:
    if job.planning.survey_failed:
        return ErrorInfo(
            error_class="permanent",
            code="survey-failed",
            message="what the source lacks is not known in full",
        )
    if plans.is_source_empty(job.planning) and not job.spec.allow_empty_source:
        return ErrorInfo(
            error_class="permanent",
            code="source-empty",
            message=f"{job.spec.src_node} has nothing of what is mirrored, so nothing was deleted: "
            "set allow_empty_source if that is meant",
        )
    return ErrorInfo(
        error_class="permanent",
        code="max-deletes-exceeded",
        message=f"{job.planning.deletes_found} objects would be deleted and max_deletes is {job.spec.max_deletes}: "
        "none was; raise it if that is meant",
    )
