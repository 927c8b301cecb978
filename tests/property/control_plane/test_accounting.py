"""Numbers of jobs add up, whatever nodes report and however often they fail."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from replicator.control_plane.domain import accounting, settlement
from replicator.control_plane.domain import task as tasks
from replicator.control_plane.domain.object_row import ObjectRow, Outcome
from replicator.control_plane.domain.task import Task, TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.testing.control_plane_values import LEASE, row_of, task_in
from replicator.wire.sessions import BYTES_MAX, ErrorInfo, ObjectResult

AMOUNTS = st.integers(0, 50) | st.integers(0, BYTES_MAX // 8)
SMALL = st.integers(0, 50)
ANY_TRANSFER = st.builds(Transfer, **dict.fromkeys(Transfer._fields, AMOUNTS))
TRANSIENT = ErrorInfo(error_class="transient", code="corrupt", message="it broke")
PERMANENT = ErrorInfo(error_class="permanent", code="not-found", message="it is gone")
ERRORS = st.sampled_from([TRANSIENT, PERMANENT])


@dataclass
class Ended:
    """A task that has ended, and its rows."""

    rows: list[ObjectRow]
    task: Task


def results(count: int, amounts: st.SearchStrategy[int]) -> st.SearchStrategy[list[ObjectResult]]:
    """What an attempt may say of the first `count` rows, and of some that are not there."""
    said = st.builds(
        ObjectResult,
        row=st.integers(1, count + 1),
        outcome=st.sampled_from(["verified", "skipped", "failed", "deleted"]),
        bytes_transferred=amounts,
        bytes_deduplicated=amounts,
        bytes_saved=amounts,
        error=ERRORS | st.none(),
    )
    return st.lists(said, max_size=count, unique_by=lambda each: each.row)


def attempt(task: Task) -> Task:
    """`task`, claimed anew."""
    if task.state is TaskState.LEASED:
        task = tasks.retry(task, error=TRANSIENT, not_before_ms=9, now_ms=0)
    if task.state is TaskState.SCHEDULED:
        task = tasks.release(task, now_ms=0)
    return tasks.claim(task, lease=LEASE, now_ms=0)


@st.composite
def ended_tasks(draw: st.DrawFn) -> Ended:
    """Tasks of a few rows after a few attempts, some of them lost."""
    count = draw(st.integers(1, 4))
    waiting = [row_of(number) for number in range(1, count + 1)]
    done: list[ObjectRow] = []
    task = task_in(items=count)
    for _ in range(draw(st.integers(1, 4))):
        task = attempt(task)
        task = tasks.report(task, draw(ANY_TRANSFER), now_ms=0)
        if draw(st.booleans()):
            said = draw(results(count, AMOUNTS))
            divided = settlement.of_result(task, waiting, said, error=draw(ERRORS | st.none()))
            task, waiting = divided.task, list(divided.waiting)
            done.extend(divided.settled)
    outcome = draw(st.sampled_from([Outcome.FAILED, Outcome.CANCELLED]))
    closed = settlement.close(task, waiting, outcome, error=PERMANENT)
    return Ended([*done, *closed.settled], closed.task)


def total_of(rows: list[ObjectRow]) -> Transfer:
    total = Transfer()
    for row in rows:
        total = accounting.add(total, accounting.of_rows([row]))
    return total


@given(ended_tasks())
def test_a_task_that_has_ended_balances(ended: Ended) -> None:
    total = total_of(ended.rows)
    done = total.objects_verified + total.objects_skipped + total.objects_failed
    cancelled = sum(row.outcome is Outcome.CANCELLED for row in ended.rows)
    assert total.objects_planned == done == len(ended.rows) - cancelled
    if total.bytes_logical < BYTES_MAX:
        assert total.bytes_logical == total.bytes_transferred + total.bytes_deduplicated
    assert (ended.task.items, ended.task.items_failed) == (0, total.objects_failed)
    assert accounting.subtract(total, total) == Transfer()


@given(ended_tasks())
def test_a_live_task_never_claims_more_than_its_objects(ended: Ended) -> None:
    live = accounting.so_far(ended.task)
    if live.bytes_logical:
        assert live.bytes_transferred <= live.bytes_logical
    assert accounting.completed(ended.task) <= BYTES_MAX


@given(st.lists(st.lists(st.integers(0, 5), min_size=3, max_size=3), max_size=5), st.booleans())
def test_bytes_that_came_are_counted_as_transferred_once(attempts: list[list[int]], cancelled: bool) -> None:
    """Three objects of six bytes each; each attempt brings some of what each of them lacks, and is lost."""
    present = [0, 0, 0]
    task = task_in(items=3)
    for wanted in attempts:
        brought = [min(each, 6 - there) for each, there in zip(wanted, present, strict=True)]
        task = tasks.report(attempt(task), moved(sum(brought), sum(present)), now_ms=0)
        present = [there + each for there, each in zip(present, brought, strict=True)]
    rows = [row_of(number) for number in (1, 2, 3)]
    arrived = sum(present)
    if cancelled:
        settled = settlement.close(task, rows, Outcome.CANCELLED, error=None).settled
    else:
        task = tasks.report(attempt(task), moved(18 - arrived, arrived), now_ms=0)
        settled = settlement.of_result(task, rows, last(present), error=None).settled
        arrived = 18
    total = total_of(list(settled))
    assert total.bytes_transferred == arrived
    assert total.bytes_logical >= arrived


def moved(transferred: int, deduplicated: int) -> Transfer:
    return Transfer(bytes_transferred=transferred, bytes_deduplicated=deduplicated)


def last(present: list[int]) -> list[ObjectResult]:
    """An attempt that brings the rest of each."""
    return [
        ObjectResult(row=number, outcome="verified", bytes_transferred=6 - there, bytes_deduplicated=there)
        for number, there in enumerate(present, start=1)
    ]
