"""How far the planning of a job has come, and how its objects are put into tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from replicator.control_plane.domain.object_row import Action, ObjectRow
from replicator.control_plane.domain.replacing import replace
from replicator.wire.sessions import ITEMS_MAX

_BATCH_BYTES_MAX = 64 * 1024 * 1024
_ALONE_BYTES_MIN = 32 * 1024 * 1024
_UNKNOWN_BYTES = _BATCH_BYTES_MAX // 64
"""So that objects of unknown size travel in batches of 64."""


@dataclass(frozen=True, kw_only=True)
class Planning:
    """What is known of a job's objects.

    `cursor` is where the survey goes on, `surveyed` says that there is nothing left to find, `survey_live`
    that a task is at it, `survey_failed` that one has failed for good. `rows_found` counts the job's rows;
    `transfers_waiting` and `deletes_waiting` are those that no task has been made for, of `deletes_found`. A retry
    takes up failed rows from `reopened_row`, exclusive, to `reopen_until`.
    """

    cursor: str | None = None
    surveyed: bool = False
    survey_live: bool = False
    survey_failed: bool = False
    compared: int = 0
    rows_found: int = 0
    transfers_waiting: int = 0
    deletes_waiting: int = 0
    deletes_found: int = 0
    reopened_row: int = 0
    reopen_until: int = 0
    source_root: str | None = None
    destination_root: str | None = None


def begun_anew(planning: Planning) -> Planning:
    """The next survey begins at the start, and finds and counts again what there is.

    Rows stay, and so does the number of deletions: rather too many are refused than made.
    """
    return replace(planning, cursor=None, compared=0)


def is_complete(planning: Planning) -> bool:
    """Whether no task will follow those that there are."""
    walked = planning.surveyed or planning.survey_failed
    return walked and not is_reopening(planning) and not rows_waiting(planning)


def is_source_empty(planning: Planning) -> bool:
    """Whether the whole walk found nothing at the source, and something at the destination."""
    return 0 < planning.deletes_found == planning.compared


def is_reopening(planning: Planning) -> bool:
    """Whether failed rows are still to be taken up."""
    return planning.reopened_row < planning.reopen_until


def rows_waiting(planning: Planning) -> int:
    """Rows that no task has been made for."""
    return planning.transfers_waiting + planning.deletes_waiting


def batches(rows: Iterable[ObjectRow]) -> list[Sequence[ObjectRow]]:
    """`rows` in their order, as tasks: not too many, not too large, and a large object alone."""
    made: list[list[ObjectRow]] = []
    room_bytes = 0
    for row in rows:
        size = _bytes_to_move(row)
        alone = size >= _ALONE_BYTES_MIN
        if not made or alone or size > room_bytes or len(made[-1]) == ITEMS_MAX:
            made.append([])
            room_bytes = _BATCH_BYTES_MAX
        made[-1].append(row)
        room_bytes = -1 if alone else room_bytes - size
    return list(made)


def _bytes_to_move(row: ObjectRow) -> int:
    if row.action is Action.DELETE:
        return 0
    return _UNKNOWN_BYTES if row.size is None else row.size
