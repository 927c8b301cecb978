"""When a job may begin and by when it must have ended."""

from __future__ import annotations

import pytest

from replicator.control_plane.domain import fairness, schedule
from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain.job import JobState
from replicator.kernel.errors import Conflict, InvalidRequest
from replicator.testing.control_plane_values import job_in

NOW_MS = 1_000_000
BEGUN = sorted(set(JobState) - {JobState.QUEUED, JobState.PAUSED})
UNDER_WAY = sorted(jobs.LIVE - {JobState.CANCELLING})


@pytest.mark.parametrize(
    ("start_at_ms", "deadline_at_ms"), [(None, None), (NOW_MS - 1, NOW_MS + 1), (NOW_MS + 1, NOW_MS + 2)]
)
def test_a_job_that_can_keep_both(start_at_ms: int | None, deadline_at_ms: int | None) -> None:
    schedule.check(start_at_ms=start_at_ms, deadline_at_ms=deadline_at_ms, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("start_at_ms", "deadline_at_ms", "reason"),
    [
        (None, NOW_MS, "the deadline is over already"),
        (NOW_MS + 5, NOW_MS + 5, "the deadline must be after the start"),
        (NOW_MS + 6, NOW_MS + 5, "the deadline must be after the start"),
    ],
)
def test_a_job_that_cannot(start_at_ms: int | None, deadline_at_ms: int, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        schedule.check(start_at_ms=start_at_ms, deadline_at_ms=deadline_at_ms, now_ms=NOW_MS)


@pytest.mark.parametrize(("start_at_ms", "is_to_come"), [(None, False), (NOW_MS, False), (NOW_MS + 1, True)])
def test_only_a_start_after_now_is_waited_for(start_at_ms: int | None, is_to_come: bool) -> None:
    assert schedule.is_to_come(start_at_ms, now_ms=NOW_MS) is is_to_come


def test_a_job_whose_start_has_come_takes_its_turn_from_then_on() -> None:
    postponed = job_in(JobState.QUEUED, postponed=True, priority=3, plan_rank_ms=5)
    begun = schedule.begin(postponed, now_ms=NOW_MS)
    assert not begun.postponed
    assert begun.plan_rank_ms == fairness.plan_rank(now_ms=NOW_MS, priority=3) > 5


@pytest.mark.parametrize("state", UNDER_WAY)
def test_at_its_deadline_a_job_is_cancelled_with_the_reason(state: JobState) -> None:
    cancelled = schedule.overdue(job_in(state), now_ms=NOW_MS)
    assert cancelled.state is JobState.CANCELLING
    assert cancelled.error is not None
    assert cancelled.error.code == jobs.DEADLINE_EXCEEDED


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.PAUSED])
def test_the_start_of_a_job_that_has_not_begun_is_put_off_and_brought_forward(state: JobState) -> None:
    later = schedule.change_start(job_in(state), NOW_MS + 5, now_ms=NOW_MS)
    assert (later.start_at_ms, later.postponed) == (NOW_MS + 5, True)
    for at_once in (None, NOW_MS):
        begun = schedule.change_start(later, at_once, now_ms=NOW_MS)
        assert (begun.start_at_ms, begun.postponed, begun.plan_rank_ms) == (at_once, False, NOW_MS)
    waiting = job_in(state, plan_rank_ms=5)
    assert schedule.change_start(waiting, None, now_ms=NOW_MS).plan_rank_ms == 5, "it keeps its turn"


@pytest.mark.parametrize("state", BEGUN)
def test_what_has_begun_has_no_other_start(state: JobState) -> None:
    with pytest.raises(Conflict, match="has begun"):
        schedule.change_start(job_in(state), NOW_MS + 5, now_ms=NOW_MS)


def test_a_job_that_was_paused_in_the_middle_has_begun() -> None:
    with pytest.raises(Conflict, match="has begun"):
        schedule.change_start(job_in(JobState.PAUSED, tasks_planned=1), NOW_MS + 5, now_ms=NOW_MS)


def test_a_start_is_before_the_deadline() -> None:
    job = job_in(JobState.QUEUED, deadline_at_ms=NOW_MS + 5)
    assert schedule.change_start(job, NOW_MS + 4, now_ms=NOW_MS).postponed
    with pytest.raises(InvalidRequest, match="must be before the deadline"):
        schedule.change_start(job, NOW_MS + 5, now_ms=NOW_MS)


@pytest.mark.parametrize("state", UNDER_WAY)
def test_a_deadline_is_moved_and_taken_away_while_the_job_is_under_way(state: JobState) -> None:
    job = job_in(state, deadline_at_ms=NOW_MS + 1)
    for deadline_at_ms in (NOW_MS + 9, None):
        assert schedule.change_deadline(job, deadline_at_ms, now_ms=NOW_MS).deadline_at_ms == deadline_at_ms
    with pytest.raises(InvalidRequest, match="over already"):
        schedule.change_deadline(job, NOW_MS, now_ms=NOW_MS)


@pytest.mark.parametrize("state", sorted(set(JobState) - set(UNDER_WAY)))
def test_the_deadline_of_a_job_that_ends_stays(state: JobState) -> None:
    with pytest.raises(Conflict, match="its deadline cannot change"):
        schedule.change_deadline(job_in(state), None, now_ms=NOW_MS)
