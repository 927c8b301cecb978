"""Nothing starves: whatever else is submitted, a task is claimed within a bound, and jobs are planned in turns."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from replicator.control_plane.domain.fairness import (
    LEAD_MS_MAX,
    PRIORITY_MAX,
    PRIORITY_MIN,
    PRIORITY_STEP_MS,
    WAIT_MS_MAX,
    clock_after,
    plan_rank,
    task_rank,
)

PRIORITIES = st.integers(PRIORITY_MIN, PRIORITY_MAX)


@dataclass
class Queue:
    """One node that does one task in each step, the one of the least rank; jobs make tasks as they like."""

    step_ms: int
    now_ms: int = 0
    waiting: list[tuple[int, int, int]] = field(default_factory=list)
    clocks: dict[int, int] = field(default_factory=dict)
    made: int = 0

    def make(self, job: int, priority: int) -> int:
        """A task of `job`; returns its number."""
        clock_ms = self.clocks.get(job, 0)
        self.made += 1
        rank = task_rank(now_ms=self.now_ms, clock_ms=clock_ms, priority=priority)
        heapq.heappush(self.waiting, (rank, self.made, job))
        self.clocks[job] = clock_after(now_ms=self.now_ms, clock_ms=clock_ms)
        return self.made

    def step(self) -> int | None:
        """The number of the task that is done in this step."""
        self.now_ms += self.step_ms
        return heapq.heappop(self.waiting)[1] if self.waiting else None


@given(
    priority=PRIORITIES,
    preferred=PRIORITIES,
    step_ms=st.integers(1_000, 60_000),
    ahead=st.integers(0, 40),
    jobs=st.integers(1, 8),
)
def test_no_stream_of_preferred_work_starves_a_task(
    priority: int, preferred: int, step_ms: int, ahead: int, jobs: int
) -> None:
    """As much preferred work comes as can be done, and there is a backlog: the task waits for that, and for what may
    overtake it until it has aged past the difference of priorities."""
    queue = Queue(step_ms=step_ms)
    for number in range(ahead):
        queue.make(number % jobs, preferred)
    ours = queue.make(-1, priority)
    steps_max = ahead + 2 + (max(preferred - priority, 0) * PRIORITY_STEP_MS + LEAD_MS_MAX) // step_ms
    for step in range(steps_max):
        if queue.step() == ours:
            return
        queue.make(step % jobs, preferred)
    raise AssertionError(f"not claimed within {steps_max} steps")


@given(
    priority=PRIORITIES,
    clock_ms=st.integers(0, 10**9),
    made_ms=st.integers(0, 10**9),
    others=PRIORITIES,
    other_clock_ms=st.integers(0, 10**9),
)
def test_what_is_made_later_than_the_bound_goes_behind(
    priority: int, clock_ms: int, made_ms: int, others: int, other_clock_ms: int
) -> None:
    ours = task_rank(now_ms=made_ms, clock_ms=clock_ms, priority=priority)
    late_ms = made_ms + WAIT_MS_MAX
    assert task_rank(now_ms=late_ms, clock_ms=other_clock_ms, priority=others) >= ours


@given(st.lists(PRIORITIES, min_size=2, max_size=12), st.integers(1, 30_000))
def test_every_job_is_planned_again_within_a_bound(priorities: list[int], step_ms: int) -> None:
    turns = [(plan_rank(now_ms=0, priority=priority), job) for job, priority in enumerate(priorities)]
    heapq.heapify(turns)
    last = dict.fromkeys(range(len(priorities)), 0)
    bound_ms = (max(priorities) - min(priorities)) * PRIORITY_STEP_MS + (len(priorities) + 1) * step_ms
    for step in range(1, 2 + 3 * bound_ms // step_ms if bound_ms // step_ms < 500 else 1500):
        now_ms = step * step_ms
        _, job = heapq.heappop(turns)
        assert now_ms - last[job] <= bound_ms
        last[job] = now_ms
        heapq.heappush(turns, (plan_rank(now_ms=now_ms, priority=priorities[job]), job))
        assert all(now_ms - seen <= bound_ms for seen in last.values())
