"""problem+json (RFC 9457): how every HTTP API here reports an error, and how the tree of errors maps to it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from replicator.kernel import errors

MEDIA_TYPE = "application/problem+json"

# Most specific first.
_STATUS: tuple[tuple[type[errors.ReplicatorError], HTTPStatus], ...] = (
    (errors.IsDeleteMarker, HTTPStatus.METHOD_NOT_ALLOWED),
    (errors.InvalidRequest, HTTPStatus.BAD_REQUEST),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.Conflict, HTTPStatus.CONFLICT),
    (errors.Cancelled, HTTPStatus.CONFLICT),
    (errors.Fenced, HTTPStatus.GONE),
    (errors.PreconditionFailed, HTTPStatus.PRECONDITION_FAILED),
    (errors.TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.RangeNotSatisfiable, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
    (errors.BrokenPeer, HTTPStatus.BAD_GATEWAY),
    (errors.PeerUnreachable, HTTPStatus.BAD_GATEWAY),
    (errors.Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.QuotaExceeded, HTTPStatus.INSUFFICIENT_STORAGE),
)


class Problem(BaseModel):
    """An error of an HTTP API. Members beyond these carry what the error is about."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "there is no node 'node9'; register it first",
                "code": "not-found",
                "node": "node9",
            }
        },
    )

    type: str = Field("about:blank", description="A URI naming the kind of problem.")
    title: str = Field(description="The reason phrase of the status.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What went wrong this time and what to do.")
    code: str = Field(description="Stable kebab-case name of the error.")


def status_of(error: errors.ReplicatorError) -> int:
    """The HTTP status that reports `error`; 500 where the tree names none."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return int(status)
    return int(HTTPStatus.INTERNAL_SERVER_ERROR)


def problem_of(error: errors.ReplicatorError) -> Problem:
    """`error` as a problem."""
    return make_problem(status_of(error), error.message, error.code, **error.data)


def make_problem(status: int, detail: str, code: str, **data: Any) -> Problem:
    """A problem that did not begin as a `ReplicatorError`."""
    reserved = {"type", "title", "status", "detail", "code"}
    extra = {key: value for key, value in data.items() if key not in reserved}
    return Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, code=code, **extra)


def error_of(problem: Problem) -> errors.ReplicatorError:
    """The error that `problem` reports, as nearly as this release knows it."""
    # Kinds that share a code with the one they refine are no business of another process.
    by_code = {kind.code: kind for kind in reversed(_every(errors.ReplicatorError))}
    kind = by_code.get(problem.code)
    if kind is None:
        kind = next((known for known, status in _STATUS if status == problem.status), errors.ReplicatorError)
    return kind(problem.detail, **(problem.model_extra or {}))


def _every(kind: type[errors.ReplicatorError]) -> list[type[errors.ReplicatorError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _every(child))]
