"""What is done first to keep the database small, and when."""

from __future__ import annotations

import asyncio

import pytest

from replicator.control_plane.domain.job import JobState
from replicator.control_plane.scheduler import loop, pruning
from replicator.control_plane.scheduler.loop import Rest
from replicator.control_plane.scheduler.pruning import Keeping
from replicator.testing.control_plane_values import job_in
from replicator.testing.memory_database import MemoryUnit
from replicator.testing.memory_records import Tables

KEEPING = Keeping(after_ms=10, keep_ms=100)


def tables() -> Tables:
    """A job in history that ended at 0, one beside it that ended at 50, and one that lives."""
    tables = Tables()
    unit = MemoryUnit(tables, now_ms=0)
    unit.jobs.add(job_in(JobState.FAILED, finished_at_ms=0))
    unit.history.move(ended_by_ms=0, jobs_max=1, tasks_max=1)
    unit.jobs.add(job_in(JobState.SUCCEEDED, finished_at_ms=50))
    unit.jobs.add(job_in())
    return tables


def test_the_next_page_is_due_with_the_first_of_all() -> None:
    unit = MemoryUnit(tables(), now_ms=0)
    assert pruning.next_ms(unit, KEEPING) == 60
    assert pruning.next_ms(unit, Keeping(after_ms=90, keep_ms=100)) == 100
    assert pruning.next_ms(unit, Keeping(after_ms=90, keep_ms=None)) == 140
    assert pruning.next_ms(MemoryUnit(Tables(), now_ms=0), KEEPING) is None


def test_nothing_is_done_before_its_time() -> None:
    unit = MemoryUnit(tables(), now_ms=59)
    pruning.step(unit, KEEPING)
    assert ([job.id for job in unit.jobs.page(before=None, limit=9, state=None)], unit.noted) == ([3, 2], [])


def test_what_is_due_for_longest_goes_first_and_nothing_waits_for_ever() -> None:
    keeping = Keeping(after_ms=10, keep_ms=40)
    unit = MemoryUnit(tables(), now_ms=80)
    pruning.step(unit, keeping)
    assert (unit.history.get(1), unit.history.get(2)) == (None, None)
    pruning.step(unit, keeping)
    assert unit.history.get(2) is not None
    pruning.step(unit, keeping)
    told = [(event.name, event.fields["jobs"]) for event in unit.noted]
    assert told == [("history.pruned", 1), ("history.moved", 1)]
    assert pruning.next_ms(unit, keeping) == 90


def test_what_an_earlier_release_kept_has_its_time_from_the_upgrade_on() -> None:
    upgraded = tables()
    early, late = MemoryUnit(upgraded, now_ms=1009), MemoryUnit(upgraded, now_ms=1100)
    early.upkeep.from_ms = late.upkeep.from_ms = 1000
    assert pruning.next_ms(early, KEEPING) == 1010
    pruning.step(early, KEEPING)
    assert early.noted == []
    for _ in range(3):
        pruning.step(late, KEEPING)
    assert (late.history.get(1), late.history.get(2)) == (None, None)


def test_history_that_is_kept_for_ever_stays() -> None:
    unit = MemoryUnit(tables(), now_ms=10**15)
    for _ in range(3):
        pruning.step(unit, Keeping(after_ms=10, keep_ms=None))
        pruning.prune_history(unit, Keeping(after_ms=10, keep_ms=None))
    assert [unit.history.get(1) is None, unit.history.get(2) is None] == [False, False]


def test_pruning_leaves_others_at_least_as_much_time_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([10.0, 13.0, 20.0, 21.0])
    monkeypatch.setattr(loop, "monotonic", lambda: next(moments))
    rests = iter([Rest(topic="more", seconds=0), Rest(topic="done", seconds=7)])

    async def step() -> Rest:
        return next(rests)

    rested = loop.unhurried(step)

    async def twice() -> list[Rest]:
        return [await rested(), await rested()]

    assert [rest.seconds for rest in asyncio.run(twice())] == [3, 7]
