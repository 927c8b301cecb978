"""The soak of replication itself: it passes on nodes that keep their word, and fails on one that does not."""

from pathlib import Path

import httpx
import pytest

from replicator.testing.replication_model import Request, Sides, after, complaints
from replicator.testing.replication_soak import ReplicationSoak
from replicator.testing.replication_soak_faults import FAULTS, JobFault, RunningJobs

QUICK_S = 6.0


def lose_an_object(jobs: RunningJobs) -> None:
    """Delete something behind the back of the model."""
    for member in jobs.mesh.members.values():
        url = f"{member.node.url}/objects"
        for each in httpx.get(url, trust_env=False).json()["objects"][-1:]:
            httpx.delete(f"{url}/{each['object_id']}", trust_env=False).raise_for_status()


def test_nodes_that_keep_their_word(tmp_path: Path, seed: int) -> None:
    soak = ReplicationSoak(tmp_path, seed=seed, say=print, faults=FAULTS)
    soak.run(QUICK_S)
    assert soak.tally["rounds"] > 0
    assert soak.tally["objects verified"] > 0


def test_a_loss_is_a_violation(tmp_path: Path, seed: int) -> None:
    soak = ReplicationSoak(tmp_path, seed=seed, say=print, faults=[JobFault("loss", 1, lose_an_object)])
    # What is lost before a job has read it ends that job; otherwise the accounts of a side are wrong.
    with pytest.raises(AssertionError, match=r"should|is gone at the source"):
        soak.run(QUICK_S * 10)


MOVE = Request(kind="migrate", source="a", destination="b", prefix="", move=True)
MIRROR = Request(kind="mirror", source="a", destination="b", prefix="", delete=True, max_deletes=1)


@pytest.mark.parametrize(
    ("request_", "before", "expected"),
    [
        (MOVE, Sides({"x": "1"}, {}), Sides({}, {"x": "1"})),
        (MOVE, Sides({"x": "1"}, {"x": "2"}), Sides({"x": "1"}, {"x": "2"})),
        (MIRROR, Sides({"x": "2"}, {"x": "1", "y": "1"}), Sides({"x": "2"}, {"x": "2"})),
        (MIRROR, Sides({}, {"x": "1", "y": "1"}), Sides({}, {"x": "1", "y": "1"})),
    ],
)
def test_what_the_model_expects(request_: Request, before: Sides, expected: Sides) -> None:
    assert after(request_, before) == expected


def test_what_is_on_neither_side_is_lost_even_in_a_job_that_was_cancelled() -> None:
    before = Sides({"x": "1"}, {})
    wrong = complaints(before, after(MOVE, before), Sides({}, {}), is_whole=False)
    assert wrong == ["x: version 1 is lost from both sides"]
