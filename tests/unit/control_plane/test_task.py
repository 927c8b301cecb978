from __future__ import annotations

from collections.abc import Callable

import pytest

from replicator.control_plane.domain import task as tasks
from replicator.control_plane.domain.lease import Lease
from replicator.control_plane.domain.task import TERMINAL, TRANSITIONS, Task, TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.kernel.errors import Conflict
from replicator.testing.control_plane_values import DST, LEASE, SRC, task_in
from replicator.wire.sessions import ErrorInfo

S = TaskState
ERROR = ErrorInfo(error_class="transient", code="corrupt", message="it broke")


MOVES: dict[str, tuple[Callable[[Task], Task], set[TaskState], set[TaskState]]] = {
    "claim": (lambda task: tasks.claim(task, lease=LEASE, now_ms=5), {S.READY}, {S.LEASED}),
    "succeed": (
        lambda task: tasks.succeed(task, now_ms=5),
        {S.LEASED},
        {S.SUCCEEDED},
    ),
    "fail": (lambda task: tasks.fail(task, error=ERROR, now_ms=5), {S.LEASED, S.READY}, {S.FAILED}),
    "retry": (
        lambda task: tasks.retry(task, error=ERROR, not_before_ms=9, now_ms=5),
        {S.LEASED, S.HELD},
        {S.SCHEDULED},
    ),
    "park": (
        lambda task: tasks.park(task, error=ERROR, parked_for=SRC, not_before_ms=9, now_ms=5),
        {S.LEASED, S.HELD},
        {S.SCHEDULED},
    ),
    "release": (lambda task: tasks.release(task, now_ms=5), {S.LEASED, S.SCHEDULED, S.HELD}, {S.READY}),
    "unpark": (lambda task: tasks.unpark(task, now_ms=5), {S.LEASED, S.SCHEDULED, S.HELD}, {S.READY}),
    "hold": (lambda task: tasks.hold(task, now_ms=5), {S.READY, S.SCHEDULED, S.LEASED}, {S.HELD}),
    "resume": (lambda task: tasks.resume(task, now_ms=5), {S.LEASED, S.SCHEDULED, S.HELD}, {S.READY}),
    "cancel": (
        lambda task: tasks.cancel(task, now_ms=5),
        {S.READY, S.SCHEDULED, S.HELD, S.LEASED, S.CANCELLING},
        {S.CANCELLED, S.CANCELLING},
    ),
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("state", TaskState)
def test_only_the_moves_of_the_table_are_possible(name: str, state: TaskState) -> None:
    move, sources, targets = MOVES[name]
    if state not in sources:
        with pytest.raises(Conflict, match=f"a task cannot go from {state}"):
            move(task_in(state))
        return
    moved = move(task_in(state))
    assert moved.state in targets
    assert moved.state in TRANSITIONS[state]
    assert moved.updated_at_ms == 5
    assert (moved.lease is not None) == (moved.state in tasks.IN_HAND)


def test_the_table_is_the_one_that_is_documented() -> None:
    live = {state: {str(to) for to in TRANSITIONS[state]} for state in TaskState if state not in TERMINAL}
    assert live == {
        S.READY: {"leased", "held", "failed", "cancelled"},
        S.LEASED: {"succeeded", "failed", "scheduled", "ready", "held", "cancelling"},
        S.SCHEDULED: {"ready", "held", "cancelled"},
        S.HELD: {"ready", "scheduled", "cancelled"},
        S.CANCELLING: {"cancelled"},
    }
    assert {S.SUCCEEDED, S.FAILED, S.CANCELLED} == TERMINAL


def test_a_claim_begins_an_attempt_under_the_next_epoch() -> None:
    before = task_in(
        epoch=3,
        attempt=2,
        transfer=Transfer(bytes_logical=10, bytes_transferred=4, bytes_saved=3, bytes_wire=5),
        stop_asked=True,
        credit_bytes_transferred=1,
        credit_bytes_saved=2,
        earlier_bytes_wire=1,
    )
    claimed = tasks.claim(before, lease=LEASE, now_ms=7)
    assert (claimed.epoch, claimed.attempt, claimed.begun_at_ms, claimed.lease) == (4, 3, 7, LEASE)
    assert claimed.transfer == Transfer(bytes_logical=10)
    assert (claimed.credit_bytes_transferred, claimed.credit_bytes_saved) == (5, 5)
    assert (claimed.earlier_bytes_wire, claimed.stop_asked) == (6, False)


@pytest.mark.parametrize(
    ("epoch", "boot_id", "counts"),
    [(4, "boot", True), (3, "boot", False), (5, "boot", False), (4, "b", False)],
)
def test_only_the_holder_of_the_epoch_counts(epoch: int, boot_id: str, counts: bool) -> None:
    assert tasks.is_held_by(task_in(S.LEASED, epoch=4), epoch=epoch, boot_id=boot_id) is counts
    assert tasks.is_held_by(task_in(S.CANCELLING, epoch=4), epoch=epoch, boot_id=boot_id) is counts
    assert not tasks.is_held_by(task_in(S.READY, epoch=4), epoch=epoch, boot_id=boot_id)


def test_a_lease_is_renewed_without_a_new_epoch() -> None:
    longer = Lease(session_id="s2", boot_id="b", expires_at_ms=200)
    assert tasks.renew(task_in(S.LEASED, epoch=4), longer) == task_in(S.LEASED, epoch=4, lease=longer)
    assert tasks.fence(task_in(epoch=4)).epoch == 5


def test_a_report_that_says_nothing_new_changes_nothing() -> None:
    task = task_in(S.LEASED, transfer=Transfer(bytes_transferred=5, bytes_logical=9))
    assert tasks.report(task, Transfer(bytes_transferred=3), now_ms=7) is task
    newer = tasks.report(task, Transfer(bytes_transferred=6, bytes_logical=8), now_ms=7)
    assert newer.transfer == Transfer(bytes_transferred=6, bytes_logical=8)
    assert newer.updated_at_ms == 7


def test_a_retry_counts_and_ends_a_wait() -> None:
    waited = task_in(S.LEASED, failures=1, parks=3, parked_for=SRC, parked_since_ms=1)
    retried = tasks.retry(waited, error=ERROR, not_before_ms=9, now_ms=5)
    assert (retried.failures, retried.not_before_ms, retried.error) == (2, 9, ERROR)
    assert (retried.parks, retried.parked_for, retried.parked_since_ms) == (0, None, None)


def test_a_wait_goes_on_until_bytes_arrive() -> None:
    def park(task: Task, now_ms: int) -> Task:
        return tasks.park(task, error=ERROR, parked_for=SRC, not_before_ms=99, now_ms=now_ms)

    first = park(task_in(S.LEASED, failures=1), 5)
    assert (first.parks, first.parked_since_ms, first.failures) == (1, 5, 1)
    second = park(task_in(S.LEASED, parks=1, parked_since_ms=5), 8)
    assert (second.parks, second.parked_since_ms) == (2, 5)
    fed = task_in(S.LEASED, parks=2, parked_since_ms=5, transfer=Transfer(bytes_transferred=1))
    assert (park(fed, 9).parks, park(fed, 9).parked_since_ms) == (1, 9)


def test_a_wait_of_no_time_is_none() -> None:
    parked = tasks.park(task_in(S.LEASED), error=ERROR, parked_for=DST, not_before_ms=5, now_ms=5)
    assert (parked.state, parked.not_before_ms, parked.ready_at_ms) == (S.READY, None, 5)


def test_a_wait_is_forgotten_when_what_was_waited_for_comes() -> None:
    waiting = task_in(S.SCHEDULED, parks=3, parked_for=SRC, parked_since_ms=1, not_before_ms=9)
    ready = tasks.unpark(waiting, now_ms=5)
    assert (ready.state, ready.parks, ready.parked_for, ready.parked_since_ms) == (S.READY, 0, None, None)
    assert (ready.not_before_ms, ready.ready_at_ms) == (None, 5)


def test_a_held_task_goes_back_to_the_rest_of_its_backoff() -> None:
    held = tasks.hold(task_in(S.SCHEDULED, not_before_ms=9), now_ms=5)
    assert (held.state, held.not_before_ms) == (S.HELD, 9)
    assert tasks.resume(held, now_ms=8).state is S.SCHEDULED
    assert tasks.resume(held, now_ms=9).state is S.READY


def test_a_success_forgets_the_error() -> None:
    assert tasks.succeed(task_in(S.LEASED, error=ERROR), now_ms=5).error is None


def test_a_task_that_shall_stop_stays_leased_until_its_node_has() -> None:
    asked = tasks.ask_to_stop(task_in(S.LEASED), now_ms=5)
    assert (asked.state, asked.stop_asked, asked.lease) == (S.LEASED, True, LEASE)
    assert (tasks.hold(asked, now_ms=6).state, tasks.hold(asked, now_ms=6).lease) == (S.HELD, None)


def test_the_process_that_has_fallen_silent_is_remembered_until_its_end_is_known() -> None:
    task = tasks.claim(task_in(S.READY), lease=LEASE, now_ms=5)
    assert tasks.lapse(task).lapsed_boot_id == LEASE.boot_id
    assert tasks.lapse(task_in(S.READY, lapsed_boot_id="before")).lapsed_boot_id is None
    lost = tasks.lose(tasks.lapse(task))
    assert (lost.lapsed_boot_id, lost.losses) == (None, 1)
