"""What objects and tasks add to their job's numbers.

Objects add theirs when they settle; planned = verified + skipped + failed and logical = transferred +
deduplicated hold for each of them, so they hold for the sum. What live tasks have done so far is shown beside
it. `settlement` says how the bytes of an attempt are divided among its objects.
"""

from __future__ import annotations

from collections.abc import Iterable

from replicator.control_plane.domain.object_row import ObjectRow, Outcome
from replicator.control_plane.domain.task import Task, TaskKind
from replicator.wire.sessions import BYTES_MAX, Transfer

_NAMES = tuple(Transfer.model_fields)
_COUNTED_AS = {
    Outcome.VERIFIED: ("objects_planned", "objects_verified"),
    Outcome.SKIPPED: ("objects_planned", "objects_skipped"),
    Outcome.FAILED: ("objects_planned", "objects_failed"),
    Outcome.DELETED: ("objects_deleted",),
    Outcome.CANCELLED: (),
}


def of_rows(rows: Iterable[ObjectRow]) -> Transfer:
    """What objects add: nothing before they have settled. A cancelled one adds the bytes that came for it."""
    sums = dict.fromkeys(_NAMES, 0)
    for row in rows:
        counted = _COUNTED_AS.get(row.outcome)
        if counted is None:
            continue
        for name in counted:
            sums[name] += 1
        sums["bytes_logical"] += row.bytes_transferred + row.bytes_deduplicated
        sums["bytes_transferred"] += row.bytes_transferred
        sums["bytes_deduplicated"] += row.bytes_deduplicated
        sums["bytes_saved"] += row.bytes_saved
    return Transfer(**{name: min(amount, BYTES_MAX) for name, amount in sums.items()})


def of_ended(task: Task) -> Transfer:
    """What a task that has ended adds to what its objects do: all that it received."""
    return Transfer(bytes_wire=_wire(task))


def so_far(task: Task) -> Transfer:
    """What a live task has done, over all its attempts, for objects that have not settled."""
    logical = task.transfer.bytes_logical
    transferred = _transferred(task)
    if logical:
        transferred = min(transferred, logical)
    return Transfer(
        objects_planned=task.items if task.kind is TaskKind.PULL else 0,
        bytes_logical=logical,
        bytes_transferred=transferred,
        bytes_deduplicated=max(0, completed(task) - transferred),
        bytes_saved=min(task.credit_bytes_saved + task.transfer.bytes_saved, BYTES_MAX),
        bytes_wire=_wire(task),
    )


def completed(task: Task) -> int:
    """Logical bytes that the latest attempt has completed: what came, and what was there."""
    return min(task.transfer.bytes_transferred + task.transfer.bytes_deduplicated, BYTES_MAX)


def waiting(count: int) -> Transfer:
    """What objects add that no task has been made for."""
    return Transfer(objects_planned=count)


def add(left: Transfer, right: Transfer) -> Transfer:
    """The sum, field by field; it stops at the largest number that JSON keeps exact."""
    other = vars(right)
    return Transfer(**{name: min(amount + other[name], BYTES_MAX) for name, amount in vars(left).items()})


def subtract(left: Transfer, right: Transfer) -> Transfer:
    """What is left of `left`, field by field, at least nothing."""
    other = vars(right)
    return Transfer(**{name: max(amount - other[name], 0) for name, amount in vars(left).items()})


def _transferred(task: Task) -> int:
    return min(task.credit_bytes_transferred + task.transfer.bytes_transferred, BYTES_MAX)


def _wire(task: Task) -> int:
    return min(task.earlier_bytes_wire + task.transfer.bytes_wire, BYTES_MAX)
