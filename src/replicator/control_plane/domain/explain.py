"""Why a job is in its state, and what would change it; `explain_task` and `explain_node` do so for these. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pydantic import JsonValue

from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain.duty import is_live
from replicator.control_plane.domain.explain_task import of_task
from replicator.control_plane.domain.finding import Finding, Scene, at, listed, maybe_at, plural, reason, told
from replicator.control_plane.domain.job import Job, JobState
from replicator.control_plane.domain.task import Task, TaskState

OVERDUE = "deadline-exceeded"
"""Code of the error of a job that was cancelled because its deadline had passed."""


def of_job(job: Job, tasks: Sequence[Task], scene: Scene) -> Iterator[Finding]:
    """Everything that keeps `job` as it is, what matters most first; `tasks` are those of it that live.

    Where any of its tasks is at work, that comes first, for then the job moves.
    """
    if job.state in jobs.TERMINAL:
        yield _ended(job)
        return
    yield from _live(job, tasks, scene)
    if job.tasks_max is not None and jobs.tasks_live(job) >= job.tasks_max:
        yield _full(job, job.tasks_max)
    if job.deadline_at_ms is not None:
        yield Finding(
            kind="deadline",
            because=f"job {job.id} is cancelled if it has not ended by {at(job.deadline_at_ms)}",
            would_change=None,
            data={"deadline_at": at(job.deadline_at_ms)},
        )


def waiting_for(job: Job, tasks: Sequence[Task], scene: Scene) -> str | None:
    """Why a live job is not moving just now, in a few words: its first finding; None if it is, or has ended."""
    return next((finding.waiting_for for finding in of_job(job, tasks, scene)), None)


def _live(job: Job, tasks: Sequence[Task], scene: Scene) -> Iterator[Finding]:
    if job.state is JobState.PAUSED:
        yield Finding(
            kind="paused",
            because=f"somebody paused job {job.id}",
            would_change=f"somebody resuming it: POST /jobs/{job.id}/resume",
            data={"tasks": jobs.tasks_live(job)},
            waiting_for="somebody to resume it",
        )
    elif job.state is JobState.QUEUED and job.postponed:
        yield _postponed(job)
    elif job.state is JobState.QUEUED or (not tasks and job.state is not JobState.CANCELLING):
        yield from _to_plan(job, scene)
    elif job.state is JobState.CANCELLING and not tasks:
        yield _dropping(job)
    for alike in _alike(tasks):
        yield from _shared(alike, scene)


def _postponed(job: Job) -> Finding:
    start = "its start" if job.start_at_ms is None else f"its start at {at(job.start_at_ms)}"
    return Finding(
        kind="postponed",
        because=f"job {job.id} is not begun before {start}",
        would_change="that moment",
        data={"start_at": maybe_at(job.start_at_ms)},
        waiting_for=start,
    )


def _to_plan(job: Job, scene: Scene) -> Iterator[Finding]:
    yield Finding(
        kind="to-be-planned",
        because=f"job {job.id} has no task just now and waits for its turn to be planned; jobs take turns, those of "
        f"a higher priority more often, and its priority is {job.priority}",
        would_change=f"its turn; a higher priority brings it sooner: PATCH /jobs/{job.id}",
        data={"priority": job.priority, "last_changed_at": at(job.updated_at_ms)},
        waiting_for="its turn to be planned",
    )
    planner = scene.planner
    if planner is not None and is_live(planner, scene.now_ms):
        yield Finding(
            kind="planner",
            because=f"{planner.holder} plans, by a lease until {at(planner.expires_at_ms)} that it renews",
            would_change=None,
            data={"holder": planner.holder, "term": planner.term, "until": at(planner.expires_at_ms)},
        )
    else:
        since = "nobody has ever planned" if planner is None else f"none since {at(planner.expires_at_ms)}"
        yield Finding(
            kind="no-planner",
            because=f"no control plane holds the lease of planning: {since}",
            would_change="a control plane taking the lease, which each that runs does within moments",
            data={} if planner is None else {"holder": planner.holder, "until": at(planner.expires_at_ms)},
        )


def _dropping(job: Job) -> Finding:
    left = job.planning.transfers_waiting + job.planning.deletes_waiting
    return Finding(
        kind="dropping",
        because=f"job {job.id} is being cancelled: {plural(left, 'object')} that no task was made for are closed, a "
        "page at a time",
        would_change="the end of that",
        data={"objects": left},
    )


def _full(job: Job, most: int) -> Finding:
    return Finding(
        kind="job-full",
        because=f"{plural(jobs.tasks_live(job), 'task')} of job {job.id} live, and no more than {most} may at a time",
        would_change=f"the end of one of them, or a higher tasks_max: PATCH /jobs/{job.id}",
        data={"tasks": jobs.tasks_live(job), "most": most},
    )


def _alike(tasks: Sequence[Task]) -> Sequence[Sequence[Task]]:
    """The tasks by what may keep them, those at work first, and of each kind the one that is due first."""
    groups: dict[object, list[Task]] = {}
    for task in tasks:
        key = (task.state, task.stop_asked, task.src_node, task.dst_node, task.parked_for)
        groups.setdefault(key, []).append(task)
    for alike in groups.values():
        alike.sort(key=lambda task: (task.not_before_ms or 0, task.id))
    return sorted(groups.values(), key=lambda alike: not _is_at_work(alike[0]))


def _is_at_work(task: Task) -> bool:
    return task.state is TaskState.LEASED and not task.stop_asked


def _shared(alike: Sequence[Task], scene: Scene) -> Iterator[Finding]:
    """What is found for the first of some tasks stands for all of them."""
    others = len(alike) - 1
    more = f"; likewise {plural(others, 'more task')}" if others else ""
    about: dict[str, JsonValue] = {"tasks": listed(task.id for task in alike), "tasks_count": len(alike)}
    for finding in of_task(alike[0], scene):
        yield replace(finding, because=finding.because + more, data={**finding.data, **about})


def _ended(job: Job) -> Finding:
    when = "" if job.finished_at_ms is None else f" at {at(job.finished_at_ms)}"
    failed, planned = job.ended.objects_failed, job.ended.objects_planned
    match job.state:
        case JobState.SUCCEEDED:
            kind, because = "succeeded", f"job {job.id} succeeded{when}"
        case JobState.CANCELLED if job.error is not None and job.error.code == OVERDUE:
            kind, because = OVERDUE, f"job {job.id} was cancelled{when}: {reason(job.error)}"
        case JobState.CANCELLED:
            kind, because = "cancelled", f"somebody cancelled job {job.id}; the last of it ended{when}"
        case JobState.PARTIAL:
            kind = "partial"
            because = f"job {job.id} ended{when}, and {failed} of {plural(planned, 'object')} failed"
        case _:
            kind = "failed"
            because = f"job {job.id} failed{when} with {failed} of {plural(planned, 'object')}"
    if kind not in {"partial", "failed"}:
        return Finding(
            kind=kind, because=because, would_change=None, data=told(job.error) if job.error else {}
        )
    survey = "; the comparison of the two sides failed" if job.planning.survey_failed else ""
    return Finding(
        kind=kind,
        because=f"{because}{survey}; the last reason: {reason(job.error)}",
        would_change=f"trying again what failed, once its cause is gone: POST /jobs/{job.id}/retry; "
        f"GET /jobs/{job.id}/objects?outcome=failed lists the objects, each with its reason",
        data={
            "objects_failed": failed,
            "objects_planned": planned,
            "tasks_failed": job.tasks_failed,
            **told(job.error),
        },
    )
