from __future__ import annotations

import pytest

from replicator.control_plane.domain.fairness import (
    LEAD_MS_MAX,
    PRIORITY_STEP_MS,
    clock_after,
    moved,
    plan_rank,
    task_rank,
)


def ranks_of_job(tasks: int, *, now_ms: int, clock_ms: int = 0, priority: int = 0) -> tuple[list[int], int]:
    """The ranks of so many tasks made at once, and the job's clock after them."""
    ranks = []
    for _ in range(tasks):
        ranks.append(task_rank(now_ms=now_ms, clock_ms=clock_ms, priority=priority))
        clock_ms = clock_after(now_ms=now_ms, clock_ms=clock_ms)
    return ranks, clock_ms


def test_a_newcomer_goes_ahead_of_most_of_what_a_large_job_has_waiting() -> None:
    large, _ = ranks_of_job(64, now_ms=0)
    for waited_s in (0, 1, 5):
        (newcomer,), _ = ranks_of_job(1, now_ms=waited_s * 1000)
        ahead = sum(rank <= newcomer for rank in large)
        assert ahead == waited_s + 1


def test_what_a_job_was_given_while_nobody_waited_is_not_held_against_it() -> None:
    """However much it has done, its next task is at most one lead behind that of a job that comes now."""
    clock_ms, now_ms = 0, 0
    for _ in range(1000):
        _, clock_ms = ranks_of_job(64, now_ms=now_ms, clock_ms=clock_ms)
        now_ms += 100
    (next_one,), _ = ranks_of_job(1, now_ms=now_ms, clock_ms=clock_ms)
    assert now_ms < next_one <= now_ms + LEAD_MS_MAX


def test_jobs_that_are_planned_in_turn_share_alike() -> None:
    first, first_clock = ranks_of_job(4, now_ms=0)
    second, _ = ranks_of_job(4, now_ms=0)
    more, _ = ranks_of_job(4, now_ms=0, clock_ms=first_clock)
    order = sorted([(rank, "first") for rank in first + more] + [(rank, "second") for rank in second])
    names = [name for _, name in order]
    assert [names[index : index + 2].count("second") for index in (0, 2, 4, 6)] == [1, 1, 1, 1]


@pytest.mark.parametrize(("before", "after"), [(0, 5), (5, -9), (3, 3)])
def test_a_rank_moves_to_where_it_would_have_been(before: int, after: int) -> None:
    rank = task_rank(now_ms=50, clock_ms=70, priority=before)
    assert moved(rank, before=before, priority=after) == task_rank(now_ms=50, clock_ms=70, priority=after)
    turn = plan_rank(now_ms=50, priority=before)
    assert moved(turn, before=before, priority=after) == plan_rank(now_ms=50, priority=after)


def test_a_step_of_priority_is_worth_a_stretch_of_waiting() -> None:
    waiting = task_rank(now_ms=0, clock_ms=0, priority=0)
    assert task_rank(now_ms=PRIORITY_STEP_MS - 1, clock_ms=0, priority=1) < waiting
    assert task_rank(now_ms=PRIORITY_STEP_MS + 1, clock_ms=0, priority=1) > waiting
