"""What a task adds to its job's numbers.

Chunks that arrived in any attempt count once, as transferred: a later attempt finds them and reports them
as deduplicated, which is corrected here. Once a task has ended, planned = verified + skipped + failed
and logical = transferred + deduplicated hold.
"""

from __future__ import annotations

from replicator.control_plane.domain.task import Task, TaskState
from replicator.wire.sessions import BYTES_MAX, Transfer


def so_far(task: Task) -> Transfer:
    """What a live task has done, over all its attempts."""
    logical = task.transfer.bytes_logical
    transferred = _transferred(task)
    if logical:
        transferred = min(transferred, logical)
    return Transfer(
        objects_planned=1,
        bytes_logical=logical,
        bytes_transferred=transferred,
        bytes_deduplicated=max(0, _present(task) - transferred),
        bytes_wire=_wire(task),
    )


def in_the_end(task: Task) -> Transfer:
    """What a task that has ended did.

    The object that arrived counts in full. Of one that did not, only the bytes that are there count, and a
    cancelled one is no longer planned. A source that changed between attempts can make more bytes arrive
    than the object has in the end; `bytes_wire` alone tells of these.
    """
    arrived = _arrived(task)
    logical = task.transfer.bytes_logical if arrived else max(_present(task), _transferred(task))
    transferred = min(_transferred(task), logical)
    skipped = arrived and task.transfer.objects_skipped > 0 and task.transfer.objects_verified == 0
    failed = task.state is TaskState.FAILED
    return Transfer(
        objects_planned=int(arrived or failed),
        objects_verified=int(arrived and not skipped),
        objects_skipped=int(skipped),
        objects_failed=int(failed),
        bytes_logical=logical,
        bytes_transferred=transferred,
        bytes_deduplicated=logical - transferred,
        bytes_wire=_wire(task),
    )


def completed(task: Task) -> int:
    """Logical bytes that the latest attempt has completed: what came, and what was there."""
    return _present(task)


def add(left: Transfer, right: Transfer) -> Transfer:
    """The sum, field by field; it stops at the largest number that JSON keeps exact."""
    right_amounts = right.model_dump()
    return Transfer(
        **{
            name: min(amount + right_amounts[name], BYTES_MAX)
            for name, amount in left.model_dump().items()
            if name in right_amounts
        }
    )


def _arrived(task: Task) -> bool:
    # A task that was being cancelled may have arrived before it heard of that.
    reported = task.transfer.objects_verified + task.transfer.objects_skipped > 0
    return task.state is TaskState.SUCCEEDED or (task.state is TaskState.CANCELLED and reported)


def _transferred(task: Task) -> int:
    return min(task.earlier_bytes_transferred + task.transfer.bytes_transferred, BYTES_MAX)


def _present(task: Task) -> int:
    return min(task.transfer.bytes_transferred + task.transfer.bytes_deduplicated, BYTES_MAX)


def _wire(task: Task) -> int:
    return min(task.earlier_bytes_wire + task.transfer.bytes_wire, BYTES_MAX)
