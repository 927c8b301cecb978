from __future__ import annotations

from collections.abc import Callable

import pytest

from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain.job import LIVE, TERMINAL, TRANSITIONS, Job, JobState
from replicator.control_plane.domain.task import TaskState
from replicator.kernel.errors import Conflict
from replicator.testing.control_plane_values import job_in, task_in
from replicator.wire.sessions import ErrorInfo, Transfer

S = JobState
ERROR = ErrorInfo(error_class="transient", code="corrupt", message="it broke")

MOVES: dict[str, tuple[Callable[[Job], Job], dict[JobState, JobState]]] = {
    "begin_planning": (
        lambda job: jobs.begin_planning(job, now_ms=5),
        {S.QUEUED: S.PLANNING, S.PLANNING: S.PLANNING},
    ),
    "planned": (
        lambda job: jobs.planned(job, tasks=1, cursor=None, now_ms=5),
        {S.PLANNING: S.RUNNING, S.PAUSED: S.RUNNING},
    ),
    "pause": (lambda job: jobs.pause(job, now_ms=5), {S.RUNNING: S.PAUSED}),
    "resume": (lambda job: jobs.resume(job, now_ms=5), {S.PAUSED: S.RUNNING, S.PLANNING: S.RUNNING}),
    "cancel": (
        lambda job: jobs.cancel(job, now_ms=5),
        dict.fromkeys(LIVE, S.CANCELLING) | {S.CANCELLED: S.CANCELLED},
    ),
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("state", JobState)
def test_only_the_moves_of_the_table_are_possible(name: str, state: JobState) -> None:
    move, targets = MOVES[name]
    if state not in targets:
        with pytest.raises(Conflict):
            move(job_in(state))
        return
    moved = move(job_in(state))
    assert moved.state is targets[state]
    assert moved.state in TRANSITIONS[state] | {state}


def test_the_table_is_the_one_that_is_documented() -> None:
    ended = {"succeeded", "partial", "failed"}
    assert {state: {str(to) for to in TRANSITIONS[state]} for state in LIVE} == {
        S.QUEUED: {"planning", "cancelling"},
        S.PLANNING: {"running", "cancelling"},
        S.RUNNING: {"paused", "cancelling"} | ended,
        S.PAUSED: {"running", "cancelling"} | ended,
        S.CANCELLING: {"cancelled"},
    }
    assert {str(state) for state in TERMINAL} == ended | {"cancelled"}


@pytest.mark.parametrize(
    ("state", "told"), [(S.SUCCEEDED, "succeeded"), (S.PARTIAL, "some objects failed"), (S.FAILED, "failed")]
)
def test_a_job_that_has_ended_says_how(state: JobState, told: str) -> None:
    with pytest.raises(Conflict, match=told) as refusal:
        jobs.cancel(job_in(state), now_ms=5)
    assert refusal.value.data == {"job": 1, "job_status": state}


def test_planning_goes_on_from_its_cursor() -> None:
    job = jobs.planned(job_in(S.PLANNING), tasks=2, cursor="next", now_ms=5)
    assert (job.state, job.cursor, job.tasks_planned) == (S.PLANNING, "next", 2)
    job = jobs.planned(job, tasks=1, cursor=None, now_ms=6)
    assert (job.state, job.cursor, job.tasks_planned) == (S.RUNNING, None, 3)


def test_a_job_without_tasks_is_done_when_it_is_planned() -> None:
    assert jobs.planned(job_in(S.PLANNING), tasks=0, cursor=None, now_ms=5).state is S.SUCCEEDED


def test_tasks_that_end_while_others_are_planned_do_not_end_the_job() -> None:
    job = job_in(S.PLANNING, tasks_planned=1, cursor="next")
    assert jobs.task_ended(job, task_in(TaskState.SUCCEEDED), now_ms=5).state is S.PLANNING


def test_an_attempt_starts_the_job_once() -> None:
    job = jobs.attempt_begun(job_in(), now_ms=5)
    assert (job.attempts, job.started_at_ms) == (1, 5)
    job = jobs.attempt_begun(job, now_ms=9)
    assert (job.attempts, job.started_at_ms, job.updated_at_ms) == (2, 5, 9)


@pytest.mark.parametrize(
    ("state", "ends", "outcome"),
    [
        (S.RUNNING, ["succeeded", "succeeded"], S.SUCCEEDED),
        (S.RUNNING, ["succeeded", "failed"], S.PARTIAL),
        (S.RUNNING, ["failed", "failed"], S.FAILED),
        (S.PAUSED, ["succeeded", "succeeded"], S.SUCCEEDED),
        (S.CANCELLING, ["succeeded", "cancelled"], S.CANCELLED),
        (S.CANCELLING, ["failed", "cancelled"], S.CANCELLED),
    ],
)
def test_a_job_ends_with_its_last_task(state: JobState, ends: list[str], outcome: JobState) -> None:
    job = jobs.attempt_failed(job_in(state, tasks_planned=2), ERROR, now_ms=1)
    transfer = Transfer(objects_verified=1, bytes_logical=5, bytes_transferred=3, bytes_deduplicated=2)
    job = jobs.task_ended(job, task_in(TaskState(ends[0]), transfer=transfer), now_ms=2)
    assert (job.state, job.finished_at_ms, jobs.tasks_live(job)) == (state, None, 1)
    job = jobs.task_ended(job, task_in(TaskState(ends[1]), transfer=transfer), now_ms=3)
    assert (job.state, job.finished_at_ms, jobs.tasks_live(job)) == (outcome, 3, 0)
    assert job.error == (None if outcome is S.SUCCEEDED else ERROR)
    assert job.ended.bytes_logical == 10
    assert jobs.settle(job, now_ms=9) is job
