"""How history is read, filled and emptied: from indexes, and never by looking at everything."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from replicator.control_plane.db.migrate import bring_up_to_date
from replicator.control_plane.db.schema import wakes, writers
from replicator.control_plane.db.sqlite import open_engine
from replicator.control_plane.db.unit import SqlUnit
from replicator.control_plane.domain.job import JobState
from replicator.control_plane.domain.task import TaskState
from replicator.testing.control_plane_values import job_in, task_in


@pytest.fixture
def connection(data_dir: str) -> Iterator[sa.Connection]:
    engine = open_engine(os.path.join(data_dir, "migrated.sqlite"), now_ms=time.time_ns, writes=True)
    bring_up_to_date(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def filled(connection: sa.Connection) -> SqlUnit:
    """Two jobs that ended at 1 with a task each, and one that lives."""
    unit = SqlUnit(connection, now_ms=1)
    for state in (JobState.FAILED, JobState.SUCCEEDED, JobState.RUNNING):
        ended = None if state is JobState.RUNNING else 1
        job = unit.jobs.add(job_in(state, finished_at_ms=ended, tasks_planned=1, idempotency_key=str(state)))
        task = unit.tasks.add(task_in(TaskState.FAILED, job_id=job.id))
        unit.attempts.begin(task_in(TaskState.LEASED, id=task.id, begun_at_ms=1))
    flush = getattr(unit, "flush", None)
    if flush is not None:
        flush()
    return SqlUnit(connection, now_ms=1)


def move(unit: SqlUnit) -> object:
    return unit.history.move(ended_by_ms=1, jobs_max=4, tasks_max=4)


def prune(unit: SqlUnit) -> object:
    return unit.history.prune(ended_by_ms=1, jobs_max=4, rows_max=100)


@pytest.mark.parametrize(
    ("ask", "indexes"),
    [
        (lambda unit: unit.history.get(1), {"PRIMARY KEY"}),
        (lambda unit: unit.history.task(1), {"PRIMARY KEY"}),
        (lambda unit: unit.history.by_idempotency_key("k"), {"job_history_by_idempotency_key"}),
        (lambda unit: unit.history.page(before=9, above=0, limit=4, state=None), {"PRIMARY KEY"}),
        (
            lambda unit: unit.history.page(before=9, above=0, limit=4, state=JobState.FAILED),
            {"job_history_by_state"},
        ),
        (lambda unit: unit.history.holds_tasks_of(1), {"task_history_by_job"}),
        (lambda unit: unit.history.first_end_to_move_ms(), {"jobs_ended"}),
        (lambda unit: unit.history.first_end_ms(), {"job_history_by_end"}),
        (move, {"jobs_ended", "tasks_by_job", "PRIMARY KEY"}),
        (
            lambda unit: (move(unit), prune(unit)),
            {"job_history_by_end", "task_history_by_job", "PRIMARY KEY"},
        ),
        (lambda unit: unit.upkeep.first_wake_ms(), set()),
        (lambda unit: unit.upkeep.forget_wakes(by_ms=1, limit=4), {"PRIMARY KEY"}),
    ],
)
def test_every_statement_reads_an_index(
    connection: sa.Connection, ask: Callable[[SqlUnit], object], indexes: set[str]
) -> None:
    asked: list[tuple[str, Any]] = []
    unit = filled(connection)
    sa.event.listen(
        connection, "before_cursor_execute", lambda _c, _k, text, values, *_: asked.append((text, values))
    )
    ask(unit)
    steps: list[str] = []
    for text, values in list(asked):
        steps += [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)]
    assert indexes <= {index for index in indexes if any(index in step for step in steps)}, steps
    assert not any("TEMP B-TREE" in step for step in steps), steps
    # The wakes are read from their first row on, and no further than a page.
    assert not any(
        step.startswith("SCAN") and step != "SCAN wakes" and "INDEX" not in step for step in steps
    ), steps


def test_wakes_are_forgotten_a_page_at_a_time_and_the_oldest_first(connection: sa.Connection) -> None:
    upkeep = SqlUnit(connection).upkeep
    assert upkeep.first_wake_ms() is None
    noted = [{"topic": "node1", "writer": "a", "at_ms": at_ms} for at_ms in (10, 20, 30, 40)]
    connection.execute(sa.insert(wakes), noted)
    assert (upkeep.first_wake_ms(), upkeep.forget_wakes(by_ms=30, limit=2)) == (10, 2)
    assert (upkeep.first_wake_ms(), upkeep.forget_wakes(by_ms=30, limit=2)) == (30, 1)
    assert (upkeep.first_wake_ms(), upkeep.forget_wakes(by_ms=30, limit=2)) == (40, 0)


def test_writers_that_are_silent_are_forgotten(connection: sa.Connection) -> None:
    upkeep = SqlUnit(connection).upkeep
    assert upkeep.first_writer_ms() is None
    noted = [{"id": name, "batch": 7, "at_ms": at_ms} for name, at_ms in (("a", 10), ("b", 20))]
    connection.execute(sa.insert(writers), noted)
    assert (upkeep.first_writer_ms(), upkeep.forget_writers(by_ms=10)) == (10, 1)
    assert (upkeep.first_writer_ms(), upkeep.forget_writers(by_ms=10)) == (20, 0)
