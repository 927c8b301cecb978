"""The soak itself: it passes on a node that keeps its word, and fails on one that does not."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from replicator.testing.soak import Soak
from replicator.testing.soak_faults import FAULTS, Fault, damage, fail_sync, fail_write, kill
from replicator.testing.soak_stage import Stage


def lose_an_object(stage: Stage) -> None:
    """Delete something behind the back of the oracle."""
    with stage.traffic() as traffic:
        traffic.wait_acknowledged(40)
    for each in httpx.get(f"{stage.node.url}/objects?limit=1", trust_env=False).json()["objects"]:
        httpx.delete(f"{stage.node.url}/objects/{each['object_id']}", trust_env=False).raise_for_status()


@pytest.mark.parametrize("strike", [kill, fail_sync, fail_write, damage])
def test_a_node_that_keeps_its_word(tmp_path: Path, seed: int, strike: Callable[[Stage], None]) -> None:
    (fault,) = [each for each in FAULTS if each.strike is strike]
    if missing := fault.missing():
        pytest.skip(missing)
    soak = Soak(tmp_path, seed=seed, say=print, faults=[fault])
    soak.run(0)
    assert soak.tally[f"fault: {fault.name}"] == soak.tally["stores"] == 1
    assert soak.tally["objects verified"] > 0
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_loss_is_a_violation(tmp_path: Path, seed: int) -> None:
    soak = Soak(tmp_path, seed=seed, say=print, faults=[Fault("loss", 1, lose_an_object)])
    with pytest.raises(AssertionError, match="found nothing; acknowledged"):
        soak.run(0)
    assert soak.tally["stores"] == 1
