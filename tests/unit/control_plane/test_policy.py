from __future__ import annotations

from dataclasses import replace

import pytest

from replicator.control_plane.domain.policy import RetryPolicy, after_failure, after_loss, before_claim
from replicator.control_plane.domain.task import TaskKind, TaskState
from replicator.control_plane.domain.transfer import Transfer
from replicator.testing.control_plane_values import DST, SRC, task_in
from replicator.wire.sessions import ErrorClass, ErrorInfo

POLICY = RetryPolicy(
    attempts_max=3,
    losses_max=5,
    delay_floor_ms=1000,
    delay_step_ms=2000,
    delay_spread_ms_max=900_000,
    park_ms_max=100_000,
    uniform=lambda low, high: high,
)
LOST = ErrorInfo(error_class="node-down", code="peer-unreachable", message="gone")


def error(error_class: ErrorClass) -> ErrorInfo:
    return ErrorInfo(error_class=error_class, code="corrupt", message="it broke")


@pytest.mark.parametrize(
    ("failures", "delay_ms"), [(0, 3000), (1, 5000), (2, 9000), (9, 901_000), (10**6, 901_000)]
)
def test_delays_double_up_to_a_bound(failures: int, delay_ms: int) -> None:
    assert POLICY.delay_ms(failures) == delay_ms
    assert replace(POLICY, uniform=lambda low, high: low).delay_ms(failures) == 1000
    assert POLICY.delay_ms_max == 901_000


def test_a_permanent_error_ends_it() -> None:
    after = after_failure(task_in(TaskState.LEASED), error=error("permanent"), policy=POLICY, now_ms=7)
    assert (after.state, after.error) == (TaskState.FAILED, error("permanent"))


@pytest.mark.parametrize("error_class", ["transient", "throttled"])
def test_other_errors_count_up_to_the_cap(error_class: ErrorClass) -> None:
    task = task_in(TaskState.LEASED, failures=1)
    after = after_failure(task, error=error(error_class), policy=POLICY, now_ms=7)
    assert (after.state, after.failures, after.not_before_ms) == (TaskState.SCHEDULED, 2, 5007)
    last = after_failure(replace(task, failures=2), error=error(error_class), policy=POLICY, now_ms=7)
    assert last.state is TaskState.FAILED


def test_a_source_that_is_down_is_waited_for() -> None:
    task = task_in(TaskState.LEASED, failures=2, parks=1, parked_since_ms=0)
    after = after_failure(task, error=error("node-down"), policy=POLICY, now_ms=99_999)
    assert (after.state, after.failures, after.parked_for) == (TaskState.SCHEDULED, 2, SRC)
    assert after.not_before_ms == 99_999 + 5000
    last = after_failure(task, error=error("node-down"), policy=POLICY, now_ms=100_000)
    assert (last.state, last.error) == (TaskState.FAILED, error("node-down"))


def test_a_lost_attempt_is_fenced_and_waits_for_its_node() -> None:
    task = task_in(TaskState.LEASED, epoch=4)
    after = after_loss(task, error=LOST, at_once=False, ended=True, policy=POLICY, now_ms=7)
    assert (after.state, after.epoch, after.parked_for) == (TaskState.SCHEDULED, 5, DST)
    assert (after.failures, after.not_before_ms, after.error) == (0, 3007, LOST)


@pytest.mark.parametrize(("parks", "state"), [(0, "ready"), (1, "ready"), (2, "scheduled")])
def test_a_restart_costs_no_time_unless_it_happens_again_and_again(parks: int, state: str) -> None:
    task = task_in(TaskState.LEASED, epoch=4, parks=parks, parked_since_ms=0 if parks else None)
    after = after_loss(task, error=LOST, at_once=True, ended=True, policy=POLICY, now_ms=7)
    assert (after.state, after.epoch) == (state, 5)


def test_losing_a_task_for_too_long_ends_it() -> None:
    task = task_in(TaskState.LEASED, parks=9, parked_since_ms=0)
    after = after_loss(task, error=LOST, at_once=True, ended=True, policy=POLICY, now_ms=100_000)
    assert after.state is TaskState.FAILED
    fed = replace(task, transfer=Transfer(bytes_transferred=1))
    assert (
        after_loss(fed, error=LOST, at_once=True, ended=True, policy=POLICY, now_ms=100_000).state
        is TaskState.SCHEDULED
    )


def test_a_task_that_was_being_cancelled_is_cancelled_when_it_is_lost() -> None:
    task = task_in(TaskState.CANCELLING, epoch=4)
    after = after_loss(task, error=LOST, at_once=False, ended=True, policy=POLICY, now_ms=7)
    assert (after.state, after.epoch, after.error) == (TaskState.CANCELLED, 5, None)


def test_what_its_node_did_not_survive_again_and_again_is_poison() -> None:
    last = task_in(TaskState.LEASED, epoch=8, losses=4)
    after = after_loss(last, error=LOST, at_once=True, ended=True, policy=POLICY, now_ms=7)
    assert (after.state, after.epoch, after.losses) == (TaskState.FAILED, 9, 5)
    assert after.error is not None
    assert (after.error.code, after.error.error_class) == ("poison", "permanent")


def test_losing_only_the_word_of_a_node_is_no_loss_of_the_node() -> None:
    task = task_in(TaskState.LEASED, losses=4)
    after = after_loss(task, error=LOST, at_once=False, ended=False, policy=POLICY, now_ms=7)
    assert (after.state, after.losses) == (TaskState.SCHEDULED, 4)


def test_a_survey_that_got_on_since_it_was_lost_counts_anew() -> None:
    got_on = task_in(TaskState.LEASED, kind=TaskKind.SURVEY, losses=4, transfer=Transfer(bytes_wire=1))
    after = after_loss(got_on, error=LOST, at_once=True, ended=True, policy=POLICY, now_ms=7)
    assert (after.state, after.losses) == (TaskState.READY, 1)


def test_a_pull_whose_bytes_arrived_since_it_was_lost_counts_anew() -> None:
    got_on = task_in(TaskState.LEASED, losses=4, transfer=Transfer(bytes_transferred=1))
    after = after_loss(got_on, error=LOST, at_once=True, ended=True, policy=POLICY, now_ms=7)
    assert (after.state, after.losses) == (TaskState.READY, 1)


def test_a_process_that_fell_silent_is_lost_once_another_comes_for_its_task() -> None:
    ready = task_in(TaskState.READY, losses=2, lapsed_boot_id="first-boot")
    same = before_claim(ready, boot_id="first-boot", policy=POLICY, now_ms=7)
    other = before_claim(ready, boot_id="other-boot", policy=POLICY, now_ms=7)
    assert (same.losses, other.losses, other.lapsed_boot_id) == (2, 3, None)
    assert before_claim(other, boot_id="third-boot", policy=POLICY, now_ms=7) is other
    last = before_claim(
        task_in(TaskState.READY, losses=4, lapsed_boot_id="first-boot"),
        boot_id="other-boot",
        policy=POLICY,
        now_ms=7,
    )
    assert last.state is TaskState.FAILED
    assert last.error is not None
    assert last.error.code == "poison"


def test_a_cancelled_task_that_is_lost_is_not_poison() -> None:
    cancelling = task_in(TaskState.CANCELLING, losses=4)
    after = after_loss(cancelling, error=LOST, at_once=True, ended=True, policy=POLICY, now_ms=7)
    assert after.state is TaskState.CANCELLED
