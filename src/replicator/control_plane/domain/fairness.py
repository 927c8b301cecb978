"""In which order work is handed out. Pure; ranks are moments of database time, and the least goes first.

A step of priority is worth a stretch of waiting, so nothing waits for ever behind what is more urgent: a task
that was ready `PRIORITY_STEP_MS` earlier goes before one that is one step above it. A job's tasks follow each
other at a distance, as if each took `SHARE_MS` of its destination, so the first task of another job goes ahead of
most of those that a large job has waiting (start-time fair queueing: Goyal, Vin and Cheng, 1996). A job's clock runs
ahead of time by `LEAD_MS_MAX` at most, so what it was given while nobody else waited is not held against it later. A
rank says only in which order, never when: where nothing else waits, all of a job's tasks are handed out at once.

Both bounds together are why nothing starves: what is made `WAIT_MS_MAX` after a task goes behind it, whatever its
priority.
"""

from __future__ import annotations

PRIORITY_STEP_MS = 60_000
SHARE_MS = 1_000
LEAD_MS_MAX = 64 * SHARE_MS
"""As many tasks as a job has at a time."""
PRIORITY_MIN, PRIORITY_MAX = -9, 9
WAIT_MS_MAX = (PRIORITY_MAX - PRIORITY_MIN) * PRIORITY_STEP_MS + LEAD_MS_MAX
"""Tasks made later than that after another never go before it."""


def task_rank(*, now_ms: int, clock_ms: int, priority: int) -> int:
    """Of a task made now, where its job's clock stands at `clock_ms`."""
    return _start(now_ms, clock_ms) - priority * PRIORITY_STEP_MS


def clock_after(*, now_ms: int, clock_ms: int) -> int:
    """The job's clock once that task was made."""
    return _start(now_ms, clock_ms) + SHARE_MS


def plan_rank(*, now_ms: int, priority: int) -> int:
    """Of a job that is planned, or was submitted, now: jobs take turns."""
    return now_ms - priority * PRIORITY_STEP_MS


def moved(rank_ms: int, *, before: int, priority: int) -> int:
    """A rank under another priority than `before`."""
    return rank_ms - (priority - before) * PRIORITY_STEP_MS


def _start(now_ms: int, clock_ms: int) -> int:
    return min(max(now_ms, clock_ms), now_ms + LEAD_MS_MAX)
