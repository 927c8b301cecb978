"""Keeping the database small: synchronous work inside a unit, in pages, each of them safe to do again.

Jobs that ended a while ago move to history, so that what the living need stays small. What is in history goes
once it has been kept for long enough, and so do the notes by which replicas know of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from replicator.control_plane.ports import Event, Unit

JOBS_MAX = 100
TASKS_MOVED_MAX = 500
ROWS_PRUNED_MAX = 2000
WAKES_KEPT_MS = 60_000
"""Replicas read them every fraction of a second, and one that was away for longer looks at everything anew."""
WRITERS_KEPT_MS = 86_400_000
"""By far longer than a process asks whether its last batch took effect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """How long after its end a job moves to history, and is removed from there; None keeps it for ever."""

    after_ms: int = 86_400_000
    keep_ms: int | None = 7_776_000_000


def next_ms(unit: Unit, keeping: Keeping) -> int | None:
    """When the next page of anything is due, in database time; a few reads of indexes."""
    return min((due_ms for due_ms, _ in _pages(unit, keeping)), default=None)


def step(unit: Unit, keeping: Keeping) -> None:
    """One page of what has been due for longest; nothing, if nothing is."""
    pages = _pages(unit, keeping)
    if pages:
        due_ms, work = min(pages, key=lambda page: page[0])
        if due_ms <= unit.now_ms:
            work(unit, keeping)


def move_ended(unit: Unit, keeping: Keeping) -> None:
    """A page of jobs that ended long enough ago moves to history, or a page of the tasks of a large one."""
    ended_by_ms = unit.now_ms - keeping.after_ms
    moved = unit.history.move(ended_by_ms=ended_by_ms, jobs_max=JOBS_MAX, tasks_max=TASKS_MOVED_MAX)
    _note(unit, "history.moved", jobs=moved.jobs, tasks=moved.rows)


def prune_history(unit: Unit, keeping: Keeping) -> None:
    """A page of jobs that were kept long enough goes, or a page of what is kept of a large one."""
    if keeping.keep_ms is not None:
        ended_by_ms = unit.now_ms - keeping.keep_ms
        pruned = unit.history.prune(ended_by_ms=ended_by_ms, jobs_max=JOBS_MAX, rows_max=ROWS_PRUNED_MAX)
        _note(unit, "history.pruned", jobs=pruned.jobs, rows=pruned.rows)


def prune_wakes(unit: Unit, _: Keeping | None = None) -> None:
    """Forget a page of what happened a while ago."""
    unit.upkeep.forget_wakes(by_ms=unit.now_ms - WAKES_KEPT_MS, limit=ROWS_PRUNED_MAX)


def prune_writers(unit: Unit, _: Keeping | None = None) -> None:
    """Forget processes that have not written for long."""
    unit.upkeep.forget_writers(by_ms=unit.now_ms - WRITERS_KEPT_MS)


def _pages(unit: Unit, keeping: Keeping) -> list[tuple[int, Callable[[Unit, Keeping], None]]]:
    """What there is to do, and since or from when."""
    kept = None if keeping.keep_ms is None else unit.history.first_end_ms()
    pages = (
        (_known(unit, unit.history.first_end_to_move_ms()), keeping.after_ms, move_ended),
        (_known(unit, kept), keeping.keep_ms or 0, prune_history),
        (unit.upkeep.first_wake_ms(), WAKES_KEPT_MS, prune_wakes),
        (unit.upkeep.first_writer_ms(), WRITERS_KEPT_MS, prune_writers),
    )
    return [(first_ms + lead_ms, work) for first_ms, lead_ms, work in pages if first_ms is not None]


def _known(unit: Unit, first_end_ms: int | None) -> int | None:
    """Since when `first_end_ms` counts: an earlier release kept everything, so its jobs have their time from then on."""
    if first_end_ms is None:
        return None
    return max(first_end_ms, unit.upkeep.history_from_ms() or first_end_ms)


def _note(unit: Unit, name: str, **counts: int) -> None:
    if any(counts.values()):
        unit.note(Event(name=name, fields=counts, level="debug"))
