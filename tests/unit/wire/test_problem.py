from __future__ import annotations

import pytest

from replicator.kernel import errors
from replicator.kernel.errors import ReplicatorError
from replicator.wire.problem import Problem, error_of, make_problem, problem_of, status_of


def every(kind: type[ReplicatorError] = ReplicatorError) -> list[type[ReplicatorError]]:
    below = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [kind, *(error for child in below for error in every(child))]


@pytest.mark.parametrize("kind", every())
def test_every_error_crosses_a_process_as_it_was(kind: type[ReplicatorError]) -> None:
    error = kind("the node is full", node="node1", free_bytes=0)
    again = error_of(Problem.model_validate_json(problem_of(error).model_dump_json()))
    assert type(again) is kind
    assert again.message == error.message
    assert again.data == error.data


STATUSES = {
    errors.ReplicatorError: 500,
    errors.InvalidRequest: 400,
    errors.DigestMismatch: 400,
    errors.IsDeleteMarker: 405,
    errors.NotFound: 404,
    errors.ObjectDeleted: 404,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.RangeNotSatisfiable: 416,
    errors.TooLarge: 413,
    errors.Fenced: 410,
    errors.Cancelled: 409,
    errors.Corrupt: 500,
    errors.BrokenPeer: 502,
    errors.QuotaExceeded: 507,
    errors.Unavailable: 503,
    errors.PeerUnreachable: 502,
    errors.StoreFailed: 503,
}


@pytest.mark.parametrize("kind", every())
def test_every_error_has_its_http_status(kind: type[ReplicatorError]) -> None:
    assert status_of(kind("x")) == problem_of(kind("x")).status == STATUSES[kind]


def test_a_problem_reads_as_rfc_9457_says() -> None:
    problem = problem_of(errors.NotFound("there is no node 'node9'; register it first", node="node9"))
    assert problem.model_dump() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "there is no node 'node9'; register it first",
        "code": "not-found",
        "node": "node9",
    }


def test_data_never_overwrites_the_members_of_a_problem() -> None:
    problem = make_problem(404, "gone", "not-found", title="no", type="no", node="node1")
    assert (problem.title, problem.type) == ("Not Found", "about:blank")
    assert problem.model_extra == {"node": "node1"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidRequest),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (412, errors.PreconditionFailed),
        (503, errors.Unavailable),
        (507, errors.QuotaExceeded),
        (500, errors.ReplicatorError),
        (418, errors.ReplicatorError),
    ],
)
def test_a_code_of_another_release_is_judged_by_its_status(status: int, kind: type[ReplicatorError]) -> None:
    problem = Problem(title="?", status=status, detail="something new", code="from-the-future")
    assert type(error_of(problem)) is kind


def test_what_another_process_sends_cannot_break_the_error() -> None:
    problem = Problem.model_validate(
        {"title": "?", "status": 404, "detail": "x", "code": "not-found", "message": 1, "self": 2, "args": 3}
    )
    error = error_of(problem)
    assert error.message == "x"
    assert error.data == {"message": 1, "self": 2, "args": 3}


def test_a_kind_that_one_process_refines_is_the_plain_one_to_another() -> None:
    class Refined(errors.Corrupt):
        """Of no interest outside."""

    again = error_of(Problem.model_validate_json(problem_of(Refined("x")).model_dump_json()))
    assert type(again) is errors.Corrupt
