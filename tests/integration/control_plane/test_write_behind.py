"""What a unit has put and not yet written: nothing but the number of statements may show that it waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from replicator.control_plane.db.database import open_file
from replicator.control_plane.db.sqlite import DatabaseTime, open_engine
from replicator.control_plane.db.unit import SqlUnit
from replicator.control_plane.domain.job import Job
from replicator.control_plane.domain.lease import Lease
from replicator.control_plane.domain.object_row import Outcome
from replicator.control_plane.domain.task import Task, TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.testing.clock import FrozenClock
from replicator.testing.control_plane import ManualClock
from replicator.testing.control_plane_values import DST, SRC, job_in, row_of, task_in

LEASE = Lease(session_id="session", boot_id="boot", expires_at_ms=1000)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sa.Connection]:
    path = str(tmp_path / "database.sqlite")
    open_file(path, clock=ManualClock(), on_events=lambda _: None).close()
    engine = open_engine(path, now_ms=DatabaseTime(FrozenClock()), writes=True)
    with engine.connect() as connection, connection.begin():
        yield connection
    engine.dispose()


@contextmanager
def writes(connection: sa.Connection) -> Iterator[list[tuple[str, int]]]:
    """The statements that write, and how many rows each carried."""
    told: list[tuple[str, int]] = []

    def note(_: Any, __: Any, text: str, values: Any, ___: Any, many: bool) -> None:
        if text.startswith(("UPDATE", "INSERT", "DELETE")):
            told.append((" ".join(text.split()[:3]), len(values) if many else 1))

    sa.event.listen(connection, "before_cursor_execute", note)
    yield told
    sa.event.remove(connection, "before_cursor_execute", note)


def planned(connection: sa.Connection, count: int = 3) -> tuple[Job, list[Task]]:
    """A job with so many ready tasks of one object each, as an earlier unit left them."""
    unit = SqlUnit(connection)
    job = unit.jobs.add(job_in())
    tasks = [unit.tasks.add(task_in(job_id=job.id, items=1)) for _ in range(count)]
    rows = [row_of(number, job_id=job.id, task_id=task.id) for number, task in enumerate(tasks, start=1)]
    unit.objects.add_many(rows)
    unit.flush()
    return job, tasks


def claimed(task: Task) -> Task:
    return replace(task, state=TaskState.LEASED, lease=LEASE, epoch=1, attempt=1, begun_at_ms=1)


def test_what_was_put_is_got_before_it_is_written(connection: sa.Connection) -> None:
    job, (task, *_) = planned(connection)
    unit = SqlUnit(connection)
    with writes(connection) as told:
        unit.jobs.put(replace(job, attempts=7))
        unit.tasks.put(claimed(task))
        assert unit.jobs.get(job.id) == replace(job, attempts=7)
        assert unit.tasks.get(task.id) == claimed(task)
        assert told == []
        assert not unit.has_written
    unit.flush()
    later = SqlUnit(connection)
    assert later.jobs.get(job.id) == replace(job, attempts=7)
    assert later.tasks.get(task.id) == claimed(task)


def test_puts_of_one_row_are_one_update_and_of_many_rows_one_statement(connection: sa.Connection) -> None:
    job, tasks = planned(connection)
    unit = SqlUnit(connection)
    with writes(connection) as told:
        for task in tasks:
            unit.tasks.get(task.id)
            unit.tasks.put(claimed(task))
            unit.attempts.begin(claimed(task))
            known = unit.jobs.get(job.id)
            assert known is not None
            unit.jobs.put(replace(known, attempts=known.attempts + 1))
        unit.flush()
    assert sorted(told) == [("INSERT INTO attempts", 3), ("UPDATE jobs SET", 1), ("UPDATE tasks SET", 3)]
    final = SqlUnit(connection).jobs.get(job.id)
    assert final is not None
    assert final.attempts == 3


def test_a_put_that_changes_nothing_writes_nothing(connection: sa.Connection) -> None:
    job, _ = planned(connection)
    unit = SqlUnit(connection)
    known = unit.jobs.get(job.id)
    assert known is not None
    unit.jobs.put(replace(known, attempts=1))
    unit.jobs.put(known)
    unit.flush()
    assert not unit.has_written


def test_lists_have_what_was_put(connection: sa.Connection) -> None:
    _, (first, second, third) = planned(connection)
    unit = SqlUnit(connection)
    unit.tasks.put(claimed(second))
    assert [task.id for task in unit.tasks.in_hand(DST)] == [second.id]
    assert [task.id for task in unit.tasks.ready(DST, limit=9)] == [first.id, third.id]
    unit.tasks.put(replace(claimed(second), state=TaskState.SUCCEEDED, lease=None))
    assert unit.tasks.in_hand(DST) == []
    assert unit.tasks.live_counts() == {"ready": 2}


def test_objects_are_as_they_were_left(connection: sa.Connection) -> None:
    job, (first, second, _) = planned(connection)
    unit = SqlUnit(connection)
    found = unit.objects.pending_of_many([first, second])
    unit.objects.count_attempt(first)
    (counted,) = unit.objects.pending_of(first)
    assert counted.attempts == 1
    unit.objects.put_many([replace(found[second.id][0], outcome=Outcome.VERIFIED, size=5)])
    assert unit.objects.pending_of(second) == []
    assert [
        (row.attempts, row.outcome, row.size) for row in unit.objects.page(job.id, after_row=0, limit=2)
    ] == [
        (1, "pending", None),
        (0, "verified", 5),
    ]
    unit.objects.end(first, Outcome.CANCELLED, error=None)
    assert [row.outcome for row in SqlUnit(connection).objects.page(job.id, after_row=0, limit=1)] == [
        "cancelled"
    ]


def test_an_attempt_that_reported_and_ended_has_its_last_numbers(connection: sa.Connection) -> None:
    _, (task, *_) = planned(connection)
    unit = SqlUnit(connection)
    unit.attempts.begin(claimed(task))
    unit.attempts.progress(replace(claimed(task), transfer=Transfer(bytes_transferred=1)))
    unit.attempts.end(
        task_id=task.id,
        epoch=1,
        outcome="succeeded",
        error=None,
        transfer=Transfer(bytes_transferred=2),
        now_ms=9,
    )
    (attempt,) = unit.attempts.of_task(task.id, limit=2)
    assert (attempt.outcome, attempt.transfer.bytes_transferred, attempt.ended_at_ms) == ("succeeded", 2, 9)


def test_events_of_a_new_job_begin_with_the_first(connection: sa.Connection) -> None:
    unit = SqlUnit(connection)
    job = unit.jobs.add(job_in())
    unit.events.append(job.id, "one", {"a": 1})
    unit.events.append(job.id, "two", {}, {"b": "c"})
    assert [(each.id, each.name) for each in unit.events.after(job.id, event_id=0, limit=9)] == [
        (1, "one"),
        (2, "two"),
        (3, "two"),
    ]


def test_a_unit_that_is_dropped_has_written_nothing(connection: sa.Connection) -> None:
    job, (task, *_) = planned(connection)
    unit = SqlUnit(connection)
    unit.jobs.put(replace(job, attempts=7))
    unit.tasks.put(claimed(task))
    unit.attempts.begin(claimed(task))
    assert not unit.has_written
    assert SqlUnit(connection).tasks.get(task.id) == task


def test_a_job_that_is_made_and_changed_is_kept_as_it_is(connection: sa.Connection) -> None:
    unit = SqlUnit(connection)
    job = unit.jobs.add(job_in(idempotency_key="key"))
    assert unit.tasks.live_of_jobs([job.id]) == []
    task = unit.tasks.add(task_in(job_id=job.id))
    assert [each.id for each in unit.tasks.live_of_jobs([job.id])] == [task.id]
    unit.jobs.put(replace(job, tasks_planned=1))
    assert unit.jobs.by_idempotency_key("key") == replace(job, tasks_planned=1)
    assert job.spec.src_node == SRC
