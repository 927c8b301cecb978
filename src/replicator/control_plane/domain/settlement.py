"""What an attempt means for the objects of its task, and how its bytes are divided among them.

An object settles once: when a result says that it is there, or gone, or has failed for good. Until then it stays
with its task. Bytes that came for it before that are the task's *credit*: a later attempt finds them and calls
them deduplicated, and they are counted as transferred then, each of them once. What is left of the credit when the
last objects fail or are cancelled is theirs. When the last ones arrive and credit is left, the source
has changed between attempts; `bytes_wire` alone tells of these bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from replicator.control_plane.domain.object_row import Action, ObjectRow, Outcome
from replicator.control_plane.domain.replacing import replace
from replicator.control_plane.domain.task import Task
from replicator.control_plane.domain.transfer import Transfer
from replicator.wire.sessions import BYTES_MAX, ErrorInfo, ObjectResult

UNSAID = ErrorInfo(
    error_class="transient", code="broken-peer", message="the node did not say what became of the object"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """A task after an attempt, the rows that have settled, and those that wait for the next attempt.

    `strangers` are rows that the result names and the task does not have.
    """

    task: Task
    settled: Sequence[ObjectRow]
    waiting: Sequence[ObjectRow]
    strangers: Sequence[int] = ()


@dataclass(slots=True)
class _Purse:
    """Bytes on their way from the task to its rows."""

    transferred: int
    saved: int

    def pay(self, row: ObjectRow) -> ObjectRow:
        """`row`, with as much of what it found as earlier attempts had brought."""
        paid = min(row.bytes_deduplicated, self.transferred)
        if not paid:
            return row
        saved = min(paid, self.saved)
        self.transferred -= paid
        self.saved -= saved
        return replace(
            row,
            bytes_transferred=row.bytes_transferred + paid,
            bytes_deduplicated=row.bytes_deduplicated - paid,
            bytes_saved=row.bytes_saved + saved,
        )


def of_result(
    task: Task, rows: Sequence[ObjectRow], results: Sequence[ObjectResult], *, error: ErrorInfo | None
) -> Settlement:
    """Divide an attempt of `task`, which had `rows` to deal with.

    Args:
        error: what holds for rows that no result names; None leaves them as they are.
    """
    named = {result.row: result for result in results}
    ours = [named[row.id] for row in rows if row.id in named]
    after = [_after(row, named.get(row.id), error) for row in rows]
    after = _with_the_unnamed(after, task.transfer, ours)
    settled = [row for row in after if row.outcome is not Outcome.PENDING]
    waiting = [row for row in after if row.outcome is Outcome.PENDING]
    purse = _Purse(task.credit_bytes_transferred, task.credit_bytes_saved)
    rest = _rest(task.transfer, ours, settled)
    settled = [purse.pay(row) for row in settled]
    task = replace(
        task,
        items=len(waiting),
        items_failed=task.items_failed + _count(settled, Outcome.FAILED),
        transfer=rest,
        credit_bytes_transferred=purse.transferred,
        credit_bytes_saved=purse.saved,
        **(_NO_WAIT if settled else {}),
    )
    if not waiting:
        settled = _with_the_rest(task, settled, Outcome.FAILED)
    strangers = sorted(named.keys() - {row.id for row in rows})
    return Settlement(task=task, settled=settled, waiting=waiting, strangers=strangers)


def close(task: Task, rows: Sequence[ObjectRow], outcome: Outcome, *, error: ErrorInfo | None) -> Settlement:
    """All that `task` had still to deal with has failed, or is cancelled.

    Args:
        error: the reason; None leaves each row its own.
    """
    ended = [replace(row, outcome=outcome, error=error or row.error) for row in rows]
    failed = _count(ended, Outcome.FAILED)
    closed = replace(task, items=0, items_failed=task.items_failed + failed)
    return Settlement(task=closed, settled=_with_the_rest(task, ended, outcome), waiting=())


def _after(row: ObjectRow, result: ObjectResult | None, error: ErrorInfo | None) -> ObjectRow:
    if result is None or (result.outcome == "failed" and result.error is None):
        return row if error is None and result is None else _failed(row, error or UNSAID)
    if result.error is not None and result.outcome == "failed":
        return _failed(replace(row, **_bytes_of(result)), result.error)
    outcome = Outcome(result.outcome)
    if outcome not in _POSSIBLE[row.action]:
        return _failed(row, UNSAID)
    return replace(
        row,
        **_bytes_of(result),
        outcome=outcome,
        version=result.version or row.version,
        manifest=result.manifest or row.manifest,
        size=result.size,
        error=None,
    )


def _failed(row: ObjectRow, error: ErrorInfo) -> ObjectRow:
    if error.error_class == "permanent":
        return replace(row, outcome=Outcome.FAILED, error=error)
    return replace(row, error=error, bytes_transferred=0, bytes_deduplicated=0, bytes_saved=0)


def _bytes_of(result: ObjectResult) -> dict[str, Any]:
    return {
        "bytes_transferred": result.bytes_transferred,
        "bytes_deduplicated": result.bytes_deduplicated,
        "bytes_saved": min(result.bytes_saved, result.bytes_transferred),
    }


def _with_the_unnamed(
    after: Sequence[ObjectRow], told: Transfer, named: Sequence[ObjectResult]
) -> list[ObjectRow]:
    """`after`, the first of those that failed for good without being named with the bytes of them all."""
    if len(named) == len(after):
        return list(after)
    rows, known = list(after), {result.row for result in named}
    failed = (
        index for index, row in enumerate(rows) if row.outcome is Outcome.FAILED and row.id not in known
    )
    index = next(failed, None)
    if index is not None:
        left = {name: getattr(told, name) - sum(getattr(each, name) for each in named) for name in _BYTES}
        rows[index] = replace(rows[index], **{name: max(amount, 0) for name, amount in left.items()})
    return rows


def _rest(told: Transfer, named: Sequence[ObjectResult], settled: Sequence[ObjectRow]) -> Transfer:
    """What the attempt did for objects that have not settled. Its own sum is at least that of its objects."""
    whole, taken = _bytes_in(named), _bytes_in(settled)
    return Transfer(
        bytes_logical=max(told.bytes_logical - taken[0] - taken[1], 0),
        bytes_transferred=min(max(told.bytes_transferred, whole[0]) - taken[0], BYTES_MAX),
        bytes_deduplicated=min(max(told.bytes_deduplicated, whole[1]) - taken[1], BYTES_MAX),
        bytes_saved=min(max(told.bytes_saved, whole[2]) - taken[2], BYTES_MAX),
        bytes_wire=told.bytes_wire,
    )


def _bytes_in(items: Sequence[ObjectResult] | Sequence[ObjectRow]) -> tuple[int, int, int]:
    """Bytes transferred, deduplicated and saved."""
    transferred = deduplicated = saved = 0
    for each in items:
        transferred += each.bytes_transferred
        deduplicated += each.bytes_deduplicated
        saved += each.bytes_saved
    return transferred, deduplicated, saved


def _with_the_rest(task: Task, settled: Sequence[ObjectRow], outcome: Outcome) -> list[ObjectRow]:
    """`settled`, the first of that outcome with the bytes that came, or were there, for none in particular."""
    rows = list(settled)
    index = next((index for index, row in enumerate(rows) if row.outcome is outcome), None)
    if index is not None:
        row, rest, credit = rows[index], task.transfer, task.credit_bytes_transferred
        rows[index] = replace(
            row,
            bytes_transferred=_sum(row.bytes_transferred, rest.bytes_transferred, credit),
            bytes_deduplicated=_sum(row.bytes_deduplicated, max(rest.bytes_deduplicated - credit, 0)),
            bytes_saved=_sum(row.bytes_saved, rest.bytes_saved, task.credit_bytes_saved),
        )
    return rows


def _sum(*amounts: int) -> int:
    return min(sum(amounts), BYTES_MAX)


def _count(rows: Sequence[ObjectRow], outcome: Outcome) -> int:
    return sum(row.outcome is outcome for row in rows)


_BYTES = ("bytes_transferred", "bytes_deduplicated", "bytes_saved")
_NO_WAIT: dict[str, Any] = {"parks": 0, "parked_for": None, "parked_since_ms": None, "losses": 0}
_POSSIBLE = {
    Action.TRANSFER: frozenset({Outcome.VERIFIED, Outcome.SKIPPED}),
    Action.DELETE: frozenset({Outcome.DELETED, Outcome.SKIPPED}),
}
