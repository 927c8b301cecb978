"""Numbers of jobs add up, whatever nodes report."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replicator.control_plane.domain import accounting
from replicator.control_plane.domain import task as tasks
from replicator.control_plane.domain.task import Task, TaskState
from replicator.testing.control_plane_values import LEASE, task_in
from replicator.wire.sessions import BYTES_MAX, ErrorInfo, Transfer

AMOUNTS = st.integers(0, 50) | st.integers(0, BYTES_MAX)
TRANSFERS = st.builds(Transfer, **dict.fromkeys(Transfer.model_fields, AMOUNTS))
ENDS = st.sampled_from([TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED])
ERROR = ErrorInfo(error_class="transient", code="corrupt", message="it broke")


@st.composite
def ended_tasks(draw: st.DrawFn) -> Task:
    """Tasks after a few attempts of a few reports each."""
    task = task_in()
    for attempt in draw(st.lists(st.lists(TRANSFERS, max_size=3), min_size=1, max_size=4)):
        if task.state is TaskState.SCHEDULED:
            task = tasks.release(task, now_ms=0)
        task = tasks.claim(task, lease=LEASE, now_ms=0)
        for transfer in attempt:
            task = tasks.report(task, transfer, now_ms=0)
        task = tasks.retry(task, error=ERROR, not_before_ms=9, now_ms=0)
    return task_in(
        draw(ENDS),
        transfer=task.transfer,
        earlier_bytes_transferred=task.earlier_bytes_transferred,
        earlier_bytes_wire=task.earlier_bytes_wire,
    )


def assert_balanced(total: Transfer) -> None:
    done = total.objects_verified + total.objects_skipped + total.objects_failed
    assert total.objects_planned == done
    assert total.bytes_logical == total.bytes_transferred + total.bytes_deduplicated


@given(ended_tasks())
def test_a_task_that_has_ended_balances(task: Task) -> None:
    total = accounting.in_the_end(task)
    assert_balanced(total)
    assert total.objects_failed == (task.state is TaskState.FAILED)
    if task.state is TaskState.SUCCEEDED:
        assert total.objects_verified + total.objects_skipped == 1
        assert total.bytes_logical == task.transfer.bytes_logical


@given(st.lists(ended_tasks(), max_size=5))
def test_sums_of_what_fits_balance(ended: list[Task]) -> None:
    total = Transfer()
    for task in ended:
        total = accounting.add(total, accounting.in_the_end(task))
    if total.bytes_logical < BYTES_MAX:
        assert_balanced(total)


@given(ended_tasks())
def test_a_live_task_never_claims_more_than_the_object(task: Task) -> None:
    live = accounting.so_far(task)
    assert live.objects_planned == 1
    if live.bytes_logical:
        assert live.bytes_transferred <= live.bytes_logical
    assert accounting.completed(task) <= BYTES_MAX
