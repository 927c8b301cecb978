"""What objects and tasks add to their job's numbers.

Objects add theirs when they settle; planned = verified + skipped + failed and logical = transferred +
deduplicated hold for each of them, so they hold for the sum. What live tasks have done so far is shown beside
it. `settlement` says how the bytes of an attempt are divided among its objects.
"""

from __future__ import annotations

from collections.abc import Iterable

from replicator.control_plane.domain.object_row import ObjectRow, Outcome
from replicator.control_plane.domain.task import Task, TaskKind
from replicator.control_plane.domain.transfer import Transfer
from replicator.wire.sessions import BYTES_MAX

_SETTLED = (Outcome.VERIFIED, Outcome.SKIPPED, Outcome.FAILED, Outcome.DELETED, Outcome.CANCELLED)


def of_rows(rows: Iterable[ObjectRow]) -> Transfer:
    """What objects add: nothing before they have settled. A cancelled one adds the bytes that came for it."""
    counts = dict.fromkeys(_SETTLED, 0)
    transferred = deduplicated = saved = 0
    for row in rows:
        if row.outcome in counts:
            counts[row.outcome] += 1
            transferred += row.bytes_transferred
            deduplicated += row.bytes_deduplicated
            saved += row.bytes_saved
    verified, skipped, failed, deleted, _ = counts.values()
    return Transfer(
        objects_planned=verified + skipped + failed,
        objects_verified=verified,
        objects_skipped=skipped,
        objects_failed=failed,
        bytes_logical=min(transferred + deduplicated, BYTES_MAX),
        bytes_transferred=min(transferred, BYTES_MAX),
        bytes_deduplicated=min(deduplicated, BYTES_MAX),
        bytes_saved=min(saved, BYTES_MAX),
        objects_deleted=deleted,
    )


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
    return Transfer._make([min(a + b, BYTES_MAX) for a, b in zip(left, right, strict=True)])


def subtract(left: Transfer, right: Transfer) -> Transfer:
    """What is left of `left`, field by field, at least nothing."""
    return Transfer._make([max(a - b, 0) for a, b in zip(left, right, strict=True)])


def _transferred(task: Task) -> int:
    return min(task.credit_bytes_transferred + task.transfer.bytes_transferred, BYTES_MAX)


def _wire(task: Task) -> int:
    return min(task.earlier_bytes_wire + task.transfer.bytes_wire, BYTES_MAX)
