from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicator.control_plane.domain.job import JobState
from replicator.control_plane.domain.object_row import Action
from replicator.control_plane.domain.planning import Planning, batches
from replicator.control_plane.domain.spec import JobKind
from replicator.control_plane.domain.steps import LIVE_TASKS_MAX, Step, next_step
from replicator.testing.control_plane_values import SPEC, job_in, row_of

MIB = 1024 * 1024
MIRROR = replace(SPEC, delete=True, max_deletes=5)


@pytest.mark.parametrize(
    ("state", "planning", "step"),
    [
        (JobState.QUEUED, {}, Step.BEGIN),
        (JobState.RUNNING, {"transfers_waiting": 1}, Step.PULL),
        (JobState.PAUSED, {"transfers_waiting": 1}, None),
        (JobState.SUCCEEDED, {}, None),
        (JobState.CANCELLING, {"deletes_waiting": 1}, Step.DROP),
        (JobState.CANCELLING, {}, None),
        (JobState.RUNNING, {"reopened_row": 3, "reopen_until": 9}, Step.REOPEN),
        (JobState.RUNNING, {"reopened_row": 9, "reopen_until": 9, "surveyed": True}, None),
        (JobState.PLANNING, {}, Step.SURVEY),
        (JobState.PLANNING, {"survey_live": True}, None),
        (JobState.RUNNING, {"cursor": "on", "deletes_waiting": 1}, Step.SURVEY),
        (JobState.RUNNING, {"survey_failed": True}, None),
        (JobState.RUNNING, {"surveyed": True, "deletes_waiting": 5, "deletes_found": 5}, Step.REMOVE),
        (JobState.RUNNING, {"surveyed": True, "deletes_waiting": 1, "deletes_found": 6}, Step.REFUSE_DELETES),
        (JobState.RUNNING, {"survey_failed": True, "deletes_waiting": 1}, Step.REFUSE_DELETES),
    ],
)
def test_what_is_planned_next(state: JobState, planning: dict[str, Any], step: Step | None) -> None:
    assert next_step(job_in(state, spec=MIRROR, planning=Planning(**planning))) is step


@pytest.mark.parametrize("dry_or_verify", [{"dry_run": True}, {"kind": JobKind.VERIFY}])
@pytest.mark.parametrize("planning", [{"transfers_waiting": 1}, {"deletes_waiting": 1}, {"reopen_until": 9}])
def test_what_only_looks_never_brings_or_deletes(
    dry_or_verify: dict[str, Any], planning: dict[str, Any]
) -> None:
    spec = replace(MIRROR, move=True, **dry_or_verify)
    job = job_in(JobState.RUNNING, spec=spec, planning=Planning(surveyed=True, **planning))
    assert next_step(job) is None


def test_nothing_is_planned_while_enough_tasks_live() -> None:
    planning = Planning(transfers_waiting=1)
    busy = job_in(planning=planning, tasks_planned=LIVE_TASKS_MAX + 3, tasks_failed=3)
    assert next_step(busy) is None
    assert next_step(replace(busy, tasks_succeeded=1)) is Step.PULL


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ([], []),
        ([None] * 130, [64, 64, 2]),
        ([1] * 600, [256, 256, 88]),
        ([20 * MIB] * 7, [3, 3, 1]),
        ([1, 40 * MIB, 1, 1, 200 * MIB, 0], [1, 1, 2, 1, 1]),
        ([0] * 3, [3]),
    ],
)
def test_batches_are_neither_too_many_nor_too_large(sizes: list[int | None], lengths: list[int]) -> None:
    rows = [row_of(index, size=size) for index, size in enumerate(sizes)]
    made = batches(rows)
    assert [len(batch) for batch in made] == lengths
    assert [row for batch in made for row in batch] == rows


def test_what_is_deleted_has_no_weight() -> None:
    rows = [row_of(index, size=100 * MIB, action=Action.DELETE) for index in range(300)]
    assert [len(batch) for batch in batches(rows)] == [256, 44]
