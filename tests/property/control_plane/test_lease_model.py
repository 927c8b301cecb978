"""The lease protocol, explored in full; and what would go wrong without each of its parts is found."""

from __future__ import annotations

import pytest

from replicator.testing.explorer import Model, Violation, explore, wander
from replicator.testing.lease_model import DutyFlaw, DutyModel
from replicator.testing.task_lease_model import TaskFlaw, TaskModel

WALKS = 60
WALK_STEPS = 250


def test_a_duty_is_done_by_one_replica_in_each_term() -> None:
    assert explore(DutyModel()).states > 100


def test_a_task_ends_once_and_by_a_result_of_its_latest_lease() -> None:
    assert explore(TaskModel(epochs_max=2)).states > 10_000


@pytest.mark.parametrize(
    "model",
    [DutyModel(replicas=4, terms_max=50), TaskModel(lives_max=6, epochs_max=12, messages_max=5, lease=4)],
)
def test_longer_walks_find_nothing_either(model: Model[tuple[object, ...]]) -> None:
    assert sum(wander(model, seed=seed, steps=WALK_STEPS) for seed in range(WALKS)) > WALKS


@pytest.mark.parametrize(
    ("flaw", "rule"),
    [
        ("checked-before", "did the duty of an earlier term"),
        ("process-clock", "a lease was taken that had not run out"),
        ("not-in-turn", "two replicas did the duty in one term"),
        ("term-kept", "two replicas did the duty in one term"),
    ],
)
def test_a_flaw_in_the_leases_of_duties_is_found(flaw: DutyFlaw, rule: str) -> None:
    with pytest.raises(Violation, match=rule):
        explore(DutyModel(flaw=flaw))


@pytest.mark.parametrize(
    ("flaw", "rule"),
    [
        ("no-epoch-check", "the result of an attempt counted that was taken back"),
        ("no-state-check", "a task ended twice"),
        ("epoch-kept", "the result of an attempt counted that was taken back"),
        ("split-transaction", "the result of an attempt counted that was taken back"),
        ("process-clock", "a task was taken back before its lease had run out"),
        ("never-taken-back", "no goal can be reached any more"),
    ],
)
def test_a_flaw_in_the_leases_of_tasks_is_found(flaw: TaskFlaw, rule: str) -> None:
    with pytest.raises(Violation, match=rule):
        explore(TaskModel(epochs_max=2, flaw=flaw))
