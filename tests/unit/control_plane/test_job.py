from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain.job import LIVE, TERMINAL, TRANSITIONS, Job, JobState
from replicator.control_plane.domain.object_row import Action, ObjectRow, Outcome
from replicator.control_plane.domain.planning import Planning
from replicator.control_plane.domain.spec import JobKind
from replicator.control_plane.domain.steps import Step, next_step
from replicator.control_plane.domain.task import Task, TaskKind, TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.kernel.errors import Conflict
from replicator.testing.control_plane_values import SPEC, job_in, row_of, task_in
from replicator.wire.sessions import ErrorInfo, Plan, SurveyResult

S = JobState
ERROR = ErrorInfo(error_class="transient", code="corrupt", message="it broke")
SURVEY = task_in(TaskState.FAILED, kind=TaskKind.SURVEY)

MOVES: dict[str, tuple[Callable[[Job], Job], dict[JobState, JobState]]] = {
    "begin_planning": (
        lambda job: jobs.begin_planning(job, promise=None, now_ms=5),
        {S.QUEUED: S.PLANNING, S.PAUSED: S.PLANNING},
    ),
    "pause": (
        lambda job: jobs.pause(job, now_ms=5),
        dict.fromkeys([S.QUEUED, S.PLANNING, S.RUNNING, S.PAUSED], S.PAUSED),
    ),
    "resume": (
        lambda job: jobs.resume(replace(job, tasks_planned=1), now_ms=5),
        {state: state for state in (S.QUEUED, S.PLANNING, S.RUNNING)} | {S.PAUSED: S.RUNNING},
    ),
    "cancel": (
        lambda job: jobs.cancel(job, now_ms=5),
        dict.fromkeys(LIVE, S.CANCELLING) | {S.CANCELLED: S.CANCELLED},
    ),
    "retry": (
        lambda job: jobs.retry(replace(job, ended=Transfer(objects_failed=1)), now_ms=5),
        {S.PARTIAL: S.RUNNING, S.FAILED: S.RUNNING},
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
    assert {state: {str(to) for to in TRANSITIONS[state]} for state in JobState} == {
        S.QUEUED: {"planning", "paused", "cancelling"},
        S.PLANNING: {"running", "paused", "cancelling"},
        S.RUNNING: {"paused", "cancelling"} | ended,
        S.PAUSED: {"queued", "planning", "running", "cancelling"} | ended,
        S.CANCELLING: {"cancelled"},
        S.SUCCEEDED: set(),
        S.PARTIAL: {"running"},
        S.FAILED: {"running"},
        S.CANCELLED: set(),
    }
    assert {str(state) for state in TERMINAL} == ended | {"cancelled"}


@pytest.mark.parametrize(
    ("state", "told"), [(S.SUCCEEDED, "succeeded"), (S.PARTIAL, "some objects failed"), (S.FAILED, "failed")]
)
def test_a_job_that_has_ended_says_how(state: JobState, told: str) -> None:
    with pytest.raises(Conflict, match=told) as refusal:
        jobs.cancel(job_in(state), now_ms=5)
    assert refusal.value.data == {"job": 1, "job_status": state}


@pytest.mark.parametrize(
    ("tasks", "planning", "state"),
    [
        (0, Planning(), S.QUEUED),
        (1, Planning(survey_live=True), S.PLANNING),
        (1, Planning(cursor="on"), S.RUNNING),
        (1, Planning(surveyed=True), S.RUNNING),
        (1, Planning(survey_failed=True), S.RUNNING),
    ],
)
def test_a_paused_job_goes_on_where_it_was(tasks: int, planning: Planning, state: JobState) -> None:
    job = job_in(S.PAUSED, tasks_planned=tasks, planning=planning)
    assert jobs.resume(job, now_ms=5).state is state


def test_a_job_knows_the_plan_that_was_promised() -> None:
    promise = job_in(S.SUCCEEDED, id=7, plan=Plan(bytes_lacking=9), plan_job_id=7)
    job = jobs.begin_planning(job_in(S.QUEUED), promise=promise, now_ms=5)
    assert (job.plan, job.plan_job_id) == (Plan(bytes_lacking=9), 7)


def found_rows() -> list[ObjectRow]:
    return [
        row_of(1, task_id=None),
        row_of(2, task_id=None),
        row_of(3, task_id=None, action=Action.DELETE),
        row_of(4, task_id=None, action=Action.VERIFY, outcome=Outcome.FAILED),
        row_of(5, task_id=None, outcome=Outcome.PLANNED),
    ]


def test_what_is_found_waits_for_tasks_and_differences_count_at_once() -> None:
    job = jobs.found(job_in(S.PLANNING, planning=Planning()), found_rows(), surveyed=False, now_ms=5)
    assert job.state is S.RUNNING
    assert job.planning == Planning(
        rows_found=5, transfers_waiting=2, deletes_waiting=1, deletes_found=1, surveyed=False
    )
    assert (job.ended.objects_planned, job.ended.objects_failed) == (1, 1)
    assert jobs.found(replace(job, state=S.PAUSED), [], surveyed=True, now_ms=6).state is S.PAUSED


def test_what_agrees_is_skipped_and_counted() -> None:
    survey = SurveyResult(
        cursor="on", compared=7, unchanged=5, unchanged_bytes=50, source_root="0" * 64, plan=Plan()
    )
    job = jobs.compared(job_in(), survey)
    assert (job.planning.cursor, job.planning.compared, job.planning.source_root) == ("on", 7, "0" * 64)
    assert (job.ended.objects_planned, job.ended.objects_skipped) == (5, 5)
    assert (job.ended.bytes_logical, job.ended.bytes_deduplicated) == (50, 50)
    assert job.plan is None
    dry = jobs.compared(job_in(spec=replace(SPEC, dry_run=True)), survey)
    assert (dry.plan, dry.plan_job_id) == (Plan(), 1)


def test_the_plan_of_a_verification_deletes_nothing() -> None:
    spec = replace(SPEC, kind=JobKind.VERIFY, dry_run=True)
    survey = SurveyResult(plan=Plan(objects_to_delete=3, bytes_lacking=9))
    verified = jobs.compared(job_in(spec=spec), survey)
    assert verified.plan == Plan(objects_to_delete=0, bytes_lacking=9)


def test_tasks_take_what_waits() -> None:
    planning = Planning(transfers_waiting=2, deletes_waiting=1)
    job = jobs.assigned(job_in(planning=planning), task_in(), found_rows()[:3], now_ms=5)
    assert (job.tasks_planned, job.planning) == (1, Planning())
    job = jobs.assigned(job, task_in(kind=TaskKind.SURVEY), (), now_ms=5)
    assert (jobs.tasks_live(job), job.planning.survey_live) == (2, True)


def test_objects_without_a_task_settle_and_may_be_the_last() -> None:
    planning = Planning(surveyed=True, deletes_waiting=1)
    row = row_of(action=Action.DELETE, outcome=Outcome.FAILED, error=ERROR)
    job = jobs.closed(job_in(planning=planning), [row], now_ms=5)
    assert (job.state, job.ended.objects_failed, job.finished_at_ms) == (S.FAILED, 1, 5)


def test_what_failed_is_taken_up_again_and_counts_no_more() -> None:
    failed = row_of(3, outcome=Outcome.FAILED, bytes_transferred=5, bytes_deduplicated=1)
    gone = row_of(4, outcome=Outcome.FAILED, action=Action.DELETE)
    ended = Transfer(
        objects_planned=3,
        objects_verified=1,
        objects_failed=2,
        bytes_logical=9,
        bytes_transferred=8,
        bytes_deduplicated=1,
    )
    before = job_in(S.PARTIAL, ended=ended, planning=Planning(surveyed=True, rows_found=4), finished_at_ms=3)
    job = jobs.retry(before, now_ms=5)
    assert (job.finished_at_ms, job.planning.reopen_until) == (None, 4)
    assert jobs.settle(job, now_ms=5) is job
    job = jobs.reopened(job, [failed, gone], until_row=4, now_ms=5)
    assert (job.planning.transfers_waiting, job.planning.deletes_waiting) == (1, 1)
    assert job.ended == Transfer(
        objects_planned=1, objects_verified=1, bytes_logical=3, bytes_transferred=3, bytes_deduplicated=0
    )


def test_a_survey_that_failed_is_tried_again_alone() -> None:
    planning = Planning(survey_failed=True, rows_found=4)
    verify = replace(SPEC, kind=JobKind.VERIFY)
    before = job_in(S.PARTIAL, spec=verify, planning=planning, ended=Transfer(objects_failed=2))
    job = jobs.retry(before, now_ms=5)
    assert job.planning == Planning(rows_found=4)


@pytest.mark.parametrize(
    ("code", "cursor", "compared"), [("invalid-request", None, 0), ("conflict", "on", 9)]
)
def test_a_cursor_that_the_node_refuses_is_not_given_to_it_again(
    code: str, cursor: str | None, compared: int
) -> None:
    error = ErrorInfo(error_class="permanent", code=code, message="no")
    planning = Planning(survey_live=True, cursor="on", compared=9, rows_found=4, deletes_found=2)
    running = job_in(S.RUNNING, tasks_planned=1, planning=planning)
    failed = jobs.attempt_ended(running, replace(SURVEY, error=error), (), error=error, now_ms=9)
    job = jobs.retry(failed, now_ms=10)
    assert (job.planning.cursor, job.planning.compared) == (cursor, compared)
    assert (job.planning.rows_found, job.planning.deletes_found) == (4, 2)
    assert next_step(job) is Step.SURVEY


def test_differences_are_not_tried_again() -> None:
    verify = replace(SPEC, kind=JobKind.VERIFY)
    with pytest.raises(Conflict, match="nothing in it to try again"):
        jobs.retry(job_in(S.FAILED, spec=verify, ended=Transfer(objects_failed=2)), now_ms=5)


def test_a_live_job_can_be_changed() -> None:
    job = jobs.change(job_in(S.PAUSED), priority=3, bytes_per_second=5000, tasks_max=2, now_ms=5)
    assert (job.priority, job.bytes_per_second, job.tasks_max) == (3, 5000, 2)
    with pytest.raises(Conflict, match="already succeeded"):
        jobs.change(job_in(S.SUCCEEDED), priority=3, bytes_per_second=None, tasks_max=None, now_ms=5)


def test_an_attempt_starts_the_job_once() -> None:
    job = jobs.attempt_begun(job_in(), now_ms=5)
    assert (job.attempts, job.started_at_ms) == (1, 5)
    job = jobs.attempt_begun(job, now_ms=9)
    assert (job.attempts, job.started_at_ms, job.updated_at_ms) == (2, 5, 9)


def ended(job: Job, task: Task, *rows: ObjectRow) -> Job:
    return jobs.attempt_ended(job, task, rows, error=None, now_ms=5)


@pytest.mark.parametrize(
    ("state", "ends", "outcome"),
    [
        (S.RUNNING, ["verified", "skipped"], S.SUCCEEDED),
        (S.RUNNING, ["verified", "failed"], S.PARTIAL),
        (S.RUNNING, ["deleted", "failed"], S.PARTIAL),
        (S.RUNNING, ["failed", "failed"], S.FAILED),
        (S.PAUSED, ["verified", "verified"], S.SUCCEEDED),
        (S.CANCELLING, ["verified", "cancelled"], S.CANCELLED),
        (S.CANCELLING, ["failed", "cancelled"], S.CANCELLED),
    ],
)
def test_a_job_ends_with_its_last_task(state: JobState, ends: list[str], outcome: JobState) -> None:
    first, last = (
        row_of(number, outcome=Outcome(end), bytes_transferred=3, bytes_deduplicated=2)
        for number, end in enumerate(ends)
    )
    job = jobs.attempt_ended(
        job_in(state, tasks_planned=2), task_in(TaskState.SCHEDULED), [], error=ERROR, now_ms=1
    )
    job = ended(job, task_in(TaskState.SUCCEEDED, earlier_bytes_wire=4), first)
    assert (job.state, job.finished_at_ms, jobs.tasks_live(job)) == (state, None, 1)
    job = ended(job, task_in(TaskState.FAILED, transfer=Transfer(bytes_wire=3)), last)
    assert (job.state, job.finished_at_ms, jobs.tasks_live(job)) == (outcome, 5, 0)
    assert job.error == (None if outcome is S.SUCCEEDED else ERROR)
    assert (job.ended.bytes_logical, job.ended.bytes_wire) == (10, 7)
    assert jobs.settle(job, now_ms=9) is job


def test_a_job_lives_on_while_there_is_more_to_find() -> None:
    job = job_in(tasks_planned=1, planning=Planning(cursor="on"))
    assert ended(job, task_in(TaskState.SUCCEEDED)).state is S.RUNNING


def test_a_job_that_is_cancelled_ends_once_nothing_waits() -> None:
    job = job_in(S.CANCELLING, tasks_planned=1, planning=Planning(transfers_waiting=1))
    assert ended(job, task_in(TaskState.CANCELLED)).state is S.CANCELLING


def test_a_survey_that_fails_at_first_fails_the_job() -> None:
    planning = Planning(survey_live=True)
    job = ended(job_in(S.PLANNING, tasks_planned=1, planning=planning), SURVEY)
    assert (job.state, job.planning.survey_failed, job.planning.survey_live) == (S.FAILED, True, False)
    agreed = job_in(S.RUNNING, tasks_planned=1, planning=planning, ended=Transfer(objects_skipped=1))
    assert ended(agreed, SURVEY).state is S.PARTIAL
