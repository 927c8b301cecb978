"""What a peer's error answers mean to the node that asked."""

import pytest

from replicator.data_plane.replication.refusals import refusal_of
from replicator.kernel import errors
from replicator.wire.problem import problem_of


@pytest.mark.parametrize(
    ("said", "means"),
    [
        (errors.NotFound("x"), errors.NotFound),
        (errors.ObjectDeleted("x", version="0" * 32), errors.NotFound),
        (errors.Corrupt("x"), errors.Corrupt),
        (errors.BrokenPeer("x"), errors.Unavailable),
        (errors.Unavailable("x"), errors.Unavailable),
        (errors.QuotaExceeded("x"), errors.Unavailable),
        (errors.Conflict("x"), errors.BrokenPeer),
        (errors.InvalidRequest("x"), errors.BrokenPeer),
    ],
)
def test_a_refusal_is_about_the_source_or_about_the_talk_with_it(
    said: errors.ReplicatorError, means: type[errors.ReplicatorError]
) -> None:
    problem = problem_of(said)
    refusal = refusal_of("http://source", problem.status, problem.model_dump_json().encode())
    assert isinstance(refusal, means)
