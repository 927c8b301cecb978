"""What an attempt means for the objects of its task, and whose bytes are whose."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.control_plane.domain import settlement
from replicator.control_plane.domain.object_row import Action, ObjectRow, Outcome
from replicator.control_plane.domain.settlement import UNSAID, Settlement
from replicator.control_plane.domain.task import Task, TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.testing.control_plane_values import row_of, task_in
from replicator.wire.sessions import ErrorInfo, ObjectResult

TRANSIENT = ErrorInfo(error_class="transient", code="unavailable", message="later")
PERMANENT = ErrorInfo(error_class="permanent", code="not-found", message="never")


def result(row: int, outcome: str = "verified", **fields: Any) -> ObjectResult:
    return ObjectResult.model_validate({"row": row, "outcome": outcome, **fields})


def moved(transferred: int = 0, deduplicated: int = 0, saved: int = 0) -> dict[str, Any]:
    return {"bytes_transferred": transferred, "bytes_deduplicated": deduplicated, "bytes_saved": saved}


def bytes_of(row: ObjectRow) -> tuple[int, int, int]:
    return row.bytes_transferred, row.bytes_deduplicated, row.bytes_saved


def task_with(transfer: Transfer | None = None, **fields: Any) -> Task:
    return task_in(TaskState.LEASED, transfer=transfer or Transfer(), **fields)


def divide(task: Task, count: int, *results: ObjectResult, error: ErrorInfo | None = None) -> Settlement:
    return settlement.of_result(task, [row_of(number + 1) for number in range(count)], results, error=error)


def test_what_a_result_names_settles_and_the_rest_waits() -> None:
    done = divide(
        task_with(Transfer(bytes_logical=100, **moved(50, 20), bytes_wire=60), items=3),
        3,
        result(1, size=40, version="1" * 32, manifest="2" * 64, **moved(30, 10)),
        result(2, "failed", error=TRANSIENT, **moved(15, 5)),
        error=TRANSIENT,
    )
    (first,) = done.settled
    assert (first.outcome, first.size, first.version, first.manifest) == ("verified", 40, "1" * 32, "2" * 64)
    assert bytes_of(first) == (30, 10, 0)
    assert [(row.id, row.error, bytes_of(row)) for row in done.waiting] == [
        (2, TRANSIENT, (0, 0, 0)),
        (3, TRANSIENT, (0, 0, 0)),
    ]
    assert (done.task.items, done.task.items_failed) == (2, 0)
    assert done.task.transfer == Transfer(bytes_logical=60, **moved(20, 10), bytes_wire=60)


def test_rows_of_others_are_left_alone_and_told() -> None:
    done = divide(task_with(items=1), 1, result(1), result(77, **moved(5)))
    assert [row.id for row in done.settled] == [1]
    assert done.strangers == [77]
    assert done.task.transfer.bytes_transferred == 0


def test_bytes_of_earlier_attempts_count_once() -> None:
    task = task_with(credit_bytes_transferred=50, credit_bytes_saved=8, items=2)
    done = divide(task, 2, result(1, **moved(1, 30, 1)), result(2, "skipped", **moved(0, 30)))
    assert [bytes_of(row) for row in done.settled] == [(31, 0, 9), (20, 10, 0)]
    assert (done.task.credit_bytes_transferred, done.task.credit_bytes_saved) == (0, 0)


def test_a_failure_for_good_settles_at_once_with_what_came_for_it() -> None:
    task = task_with(Transfer(**moved(9, 3)), items=2, credit_bytes_transferred=2)
    done = divide(task, 2, result(1, "failed", error=PERMANENT, **moved(5, 3)))
    (failed,) = done.settled
    assert (failed.outcome, failed.error, bytes_of(failed)) == (Outcome.FAILED, PERMANENT, (7, 1, 0))
    assert [row.error for row in done.waiting] == [None]
    assert (done.task.items, done.task.items_failed) == (1, 1)
    assert done.task.transfer.bytes_transferred == 4


def test_an_error_of_the_whole_holds_for_what_is_not_named() -> None:
    done = divide(task_with(Transfer(**moved(6, 1)), items=3), 3, result(2, **moved(4)), error=PERMANENT)
    assert [row.outcome for row in done.settled] == ["failed", "verified", "failed"]
    assert [bytes_of(row) for row in done.settled] == [(2, 1, 0), (4, 0, 0), (0, 0, 0)]
    assert (done.task.items, done.task.items_failed, done.waiting) == (0, 2, [])


def test_bytes_of_what_failed_unnamed_do_not_wait_with_the_others() -> None:
    told = result(1, "failed", error=TRANSIENT, **moved(1, 10))
    done = divide(task_with(Transfer(**moved(51, 10)), items=3), 3, told, error=PERMANENT)
    assert [(row.id, bytes_of(row)) for row in done.settled] == [(2, (50, 0, 0)), (3, (0, 0, 0))]
    assert (done.task.transfer.bytes_transferred, done.task.transfer.bytes_deduplicated) == (1, 10)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (Action.TRANSFER, result(1, "deleted")),
        (Action.DELETE, result(1, "verified")),
        (Action.TRANSFER, result(1, "failed")),
    ],
)
def test_what_makes_no_sense_is_tried_again(action: Action, said: ObjectResult) -> None:
    done = settlement.of_result(task_with(items=1), [row_of(action=action)], [said], error=None)
    assert [row.error for row in done.waiting] == [UNSAID]


def test_a_deletion_is_done() -> None:
    row = row_of(action=Action.DELETE)
    done = settlement.of_result(task_with(items=1), [row], [result(1, "deleted")], error=None)
    assert [row.outcome for row in done.settled] == [Outcome.DELETED]


def test_progress_with_objects_ends_a_wait() -> None:
    task = task_with(items=2, parks=3, parked_since_ms=1)
    assert divide(task, 2, result(1)).task.parks == 0
    assert divide(task, 2, error=TRANSIENT).task.parks == 3


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CANCELLED])
def test_what_is_left_of_the_bytes_goes_with_the_last(outcome: Outcome) -> None:
    task = task_with(Transfer(**moved(10, 5, 2)), items=2, credit_bytes_transferred=3, credit_bytes_saved=1)
    done = settlement.close(task, [row_of(1, error=TRANSIENT), row_of(2)], outcome, error=None)
    assert [(row.outcome, row.error) for row in done.settled] == [(outcome, TRANSIENT), (outcome, None)]
    assert [bytes_of(row) for row in done.settled] == [(13, 2, 3), (0, 0, 0)]
    assert done.task.items == 0
    assert done.task.items_failed == (2 if outcome is Outcome.FAILED else 0)
    closed = settlement.close(task, [row_of(1, error=TRANSIENT)], outcome, error=PERMANENT)
    assert closed.settled[0].error == PERMANENT


def test_bytes_of_a_source_that_changed_are_told_by_the_wire_alone() -> None:
    done = divide(task_with(items=1, credit_bytes_transferred=50), 1, result(1, **moved(0, 20)))
    assert [bytes_of(row) for row in done.settled] == [(20, 0, 0)]
