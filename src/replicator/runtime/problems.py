"""FastAPI applications that answer every error with problem+json."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from replicator.kernel.errors import ReplicatorError, StoreFailed
from replicator.runtime.logging import get_logger
from replicator.wire.problem import MEDIA_TYPE, Problem, make_problem, problem_of

PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "An error, as problem+json (RFC 9457).",
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }
}


def install_problem_handlers(app: FastAPI) -> None:
    """Answer the tree of errors, validation, unknown routes and surprises alike with a `Problem`."""
    app.add_exception_handler(ReplicatorError, _on_known)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_surprise)


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """`problem` as a response."""
    return JSONResponse(problem.model_dump(), problem.status, headers, MEDIA_TYPE)


async def _on_known(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ReplicatorError)
    problem = problem_of(error)
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        get_logger().warning("request.refused", code=error.code, reason=error.message, data=error.data)
    # Nothing but a restart helps a store that has failed.
    passing = problem.status == HTTPStatus.SERVICE_UNAVAILABLE and not isinstance(error, StoreFailed)
    retry = {"Retry-After": "1"} if passing else None
    return problem_response(problem, retry)


async def _on_invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    wrong = [
        {"where": "/".join(str(part) for part in item["loc"]), "message": item["msg"]}
        for item in error.errors()
    ]
    detail = "; ".join(f"{item['where']}: {item['message']}" for item in wrong)
    return problem_response(make_problem(422, detail[:2000], "invalid-request", errors=wrong))


async def _on_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
    headers = dict(error.headers) if error.headers else None
    return problem_response(make_problem(error.status_code, str(error.detail), code), headers)


async def _on_surprise(request: Request, error: Exception) -> JSONResponse:
    get_logger().error("request.failed", path=request.url.path, error=repr(error), exc_info=error)
    return problem_response(make_problem(500, "an unexpected error; the log has the details", "internal"))
