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


def test_what_a_node_says_of_itself_names_it_elsewhere() -> None:
    problem = problem_of(errors.NotFound("there is no object 'zzz' on this node", object_id="zzz"))
    refusal = refusal_of("http://source", problem.status, problem.model_dump_json().encode())
    assert refusal.message == "there is no object 'zzz' on http://source"
    assert refusal.data == {"object_id": "zzz"}


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [("7", 7.0), ("999999999999", 3600.0), ("soon", None), ("-1", None), (None, None)],
)
def test_the_time_that_a_peer_asks_for_is_heard(retry_after: str | None, expected: float | None) -> None:
    error = refusal_of("http://x", 503, b"", retry_after=retry_after)
    assert error.data.get("retry_after_s") == expected
