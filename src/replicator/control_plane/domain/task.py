"""Tasks: their states and every move between them.

A task changes hands only by `claim` and `take_back`, and each of them makes `epoch` grow: whoever holds
an older epoch has lost the right to report. The lease is there exactly in the states `leased` and
`cancelling`. A leased task that shall stop for a while (`stop_asked`) stays leased until its node has stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from replicator.control_plane.domain.lease import Lease
from replicator.control_plane.domain.replacing import replace
from replicator.control_plane.domain.transfer import NOTHING, Transfer
from replicator.kernel.errors import Conflict
from replicator.kernel.names import NodeName
from replicator.wire.sessions import BYTES_MAX, ErrorInfo


class TaskKind(StrEnum):
    """What its node does: bring objects, compare what two nodes list, or delete what the source lacks."""

    PULL = "pull"
    SURVEY = "survey"
    REMOVE = "remove"


class TaskState(StrEnum):
    """Where a task stands."""

    READY = "ready"
    LEASED = "leased"
    SCHEDULED = "scheduled"
    HELD = "held"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_S = TaskState
TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = {
    _S.READY: frozenset({_S.LEASED, _S.HELD, _S.FAILED, _S.CANCELLED}),
    _S.LEASED: frozenset({_S.SUCCEEDED, _S.FAILED, _S.SCHEDULED, _S.READY, _S.HELD, _S.CANCELLING}),
    _S.SCHEDULED: frozenset({_S.READY, _S.HELD, _S.CANCELLED}),
    _S.HELD: frozenset({_S.READY, _S.SCHEDULED, _S.CANCELLED}),
    _S.CANCELLING: frozenset({_S.CANCELLED}),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}
TERMINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)
IN_HAND = frozenset({TaskState.LEASED, TaskState.CANCELLING})


@dataclass(frozen=True, kw_only=True)
class Task:
    """Part of a job for one destination: some of its objects, or a stretch of its survey.

    `items` counts the objects that have not settled, `items_failed` those that failed for good. `attempt` counts
    attempts begun, `failures` those that count against the cap. While failures are those of a node that cannot
    be reached, `parked_since_ms` is when that began and `parked_for` is the node. `losses` counts attempts that ended
    with their node's process, since the task last got on. `lapsed_boot_id` is the process that fell silent during the
    latest attempt, of which nobody knows yet whether it lives. `rank_ms` is its place among what is ready. `transfer` is that of the
    latest attempt, without what it did for objects that have settled. `credit_…` is what attempts before it
    brought for objects that had not settled, `earlier_bytes_wire` all that they received.
    """

    id: int
    job_id: int
    src_node: NodeName
    dst_node: NodeName
    kind: TaskKind = TaskKind.PULL
    priority: int = 0
    rank_ms: int = 0
    items: int = 0
    items_failed: int = 0
    state: TaskState = TaskState.READY
    stop_asked: bool = False
    epoch: int = 0
    attempt: int = 0
    failures: int = 0
    parks: int = 0
    losses: int = 0
    lapsed_boot_id: str | None = None
    parked_for: NodeName | None = None
    parked_since_ms: int | None = None
    lease: Lease | None = None
    ready_at_ms: int
    not_before_ms: int | None = None
    begun_at_ms: int | None = None
    transfer: Transfer = NOTHING
    credit_bytes_transferred: int = 0
    credit_bytes_saved: int = 0
    earlier_bytes_wire: int = 0
    error: ErrorInfo | None = None
    created_at_ms: int
    updated_at_ms: int


def is_held_by(task: Task, *, epoch: int, boot_id: str) -> bool:
    """Whether what the process `boot_id` says about `epoch` counts: the fencing rule."""
    return task.lease is not None and task.epoch == epoch and task.lease.boot_id == boot_id


def claim(task: Task, *, lease: Lease, now_ms: int) -> Task:
    """A new attempt begins under `lease`."""
    known = Transfer(bytes_logical=task.transfer.bytes_logical)
    return _move(
        task,
        TaskState.LEASED,
        now_ms,
        lease=lease,
        epoch=task.epoch + 1,
        attempt=task.attempt + 1,
        begun_at_ms=now_ms,
        stop_asked=False,
        lapsed_boot_id=None,
        transfer=known,
        credit_bytes_transferred=_sum(task.credit_bytes_transferred, task.transfer.bytes_transferred),
        credit_bytes_saved=_sum(task.credit_bytes_saved, task.transfer.bytes_saved),
        earlier_bytes_wire=_sum(task.earlier_bytes_wire, task.transfer.bytes_wire),
    )


def renew(task: Task, lease: Lease) -> Task:
    """The same right under a longer lease, or under the next session of the same process."""
    return replace(task, lease=lease)


def report(task: Task, transfer: Transfer, *, now_ms: int) -> Task:
    """Progress of the attempt. Reports may come late and out of order, so numbers only grow."""
    merged = Transfer._make(map(max, task.transfer, transfer))
    merged = merged._replace(bytes_logical=transfer.bytes_logical or task.transfer.bytes_logical)
    return task if merged == task.transfer else replace(task, transfer=merged, updated_at_ms=now_ms)


def succeed(task: Task, *, now_ms: int) -> Task:
    """Every object has settled well, verified and durable; or the stretch is surveyed."""
    return _move(task, TaskState.SUCCEEDED, now_ms, error=None)


def fail(task: Task, *, error: ErrorInfo, now_ms: int) -> Task:
    """For good."""
    return _move(task, TaskState.FAILED, now_ms, error=error)


def retry(task: Task, *, error: ErrorInfo, not_before_ms: int, now_ms: int) -> Task:
    """After a failure that counts."""
    return _move(
        task,
        TaskState.SCHEDULED,
        now_ms,
        error=error,
        not_before_ms=not_before_ms,
        failures=task.failures + 1,
        parks=0,
        parked_for=None,
        parked_since_ms=None,
    )


def park(task: Task, *, error: ErrorInfo, parked_for: NodeName, not_before_ms: int, now_ms: int) -> Task:
    """After a failure that does not count: `parked_for` could not be reached. Ready at once if due now.

    An attempt that brought bytes shows that the nodes do meet, so the count and the clock start anew.
    """
    anew = task.parked_since_ms is None or task.transfer.bytes_transferred > 0
    due = not_before_ms <= now_ms
    return _move(
        task,
        TaskState.READY if due else TaskState.SCHEDULED,
        now_ms,
        error=error,
        not_before_ms=None if due else not_before_ms,
        parks=1 if anew else task.parks + 1,
        parked_for=parked_for,
        parked_since_ms=now_ms if anew else task.parked_since_ms,
    )


def release(task: Task, *, now_ms: int) -> Task:
    """The backoff is over."""
    return _move(task, TaskState.READY, now_ms, not_before_ms=None)


def lose(task: Task) -> Task:
    """The process that had it in hand is lost. A task that has got on since the last time counts anew."""
    moved = task.transfer.bytes_wire if task.kind is TaskKind.SURVEY else task.transfer.bytes_transferred
    return replace(task, losses=1 if moved else task.losses + 1, lapsed_boot_id=None)


def lapse(task: Task) -> Task:
    """The process that has it in hand has fallen silent: its next claim shows whether that was its end."""
    return replace(task, lapsed_boot_id=None if task.lease is None else task.lease.boot_id)


def unpark(task: Task, *, now_ms: int) -> Task:
    """What the task waited for has come, so it is ready, and the wait is forgotten."""
    return release(replace(task, parks=0, parked_for=None, parked_since_ms=None), now_ms=now_ms)


def hold(task: Task, *, now_ms: int) -> Task:
    """Not to be claimed until it is resumed; a backoff goes on meanwhile. What a node has in hand has stopped."""
    return _move(task, TaskState.HELD, now_ms)


def ask_to_stop(task: Task, *, now_ms: int) -> Task:
    """The node that has it in hand is to stop. That is not taken back: whatever arrived stays with it."""
    return replace(task, stop_asked=True, updated_at_ms=now_ms)


def resume(task: Task, *, now_ms: int) -> Task:
    """Back from `held`, to what is left of its backoff."""
    waits = task.not_before_ms is not None and task.not_before_ms > now_ms
    if waits:
        return _move(task, TaskState.SCHEDULED, now_ms)
    return release(task, now_ms=now_ms)


def cancel(task: Task, *, now_ms: int) -> Task:
    """Ended at once, or, while a node has it in hand, asked to end."""
    if task.state is TaskState.LEASED:
        return replace(task, state=TaskState.CANCELLING, updated_at_ms=now_ms)
    return _move(task, TaskState.CANCELLED, now_ms)


def fence(task: Task) -> Task:
    """The next epoch, so that nobody's word counts until the task is claimed again."""
    return replace(task, epoch=task.epoch + 1)


def _sum(left: int, right: int) -> int:
    return min(left + right, BYTES_MAX)


def _move(task: Task, state: TaskState, now_ms: int, **changes: Any) -> Task:
    if state not in TRANSITIONS[task.state]:
        raise Conflict(f"a task cannot go from {task.state} to {state}", task=task.id)
    in_hand = state in IN_HAND
    ready_at_ms = now_ms if state is TaskState.READY else task.ready_at_ms
    changes = {"lease": task.lease if in_hand else None, "ready_at_ms": ready_at_ms, **changes}
    return replace(task, state=state, updated_at_ms=now_ms, **changes)
