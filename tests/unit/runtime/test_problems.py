from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI, HTTPException
from structlog.testing import capture_logs

from replicator.kernel.errors import Conflict, NotFound, Unavailable
from replicator.runtime.problems import PROBLEM_RESPONSES, install_problem_handlers
from replicator.wire.nodes import RegisterNode
from replicator.wire.problem import MEDIA_TYPE, Problem, error_of


def build_app() -> FastAPI:
    app = FastAPI(responses=PROBLEM_RESPONSES)
    install_problem_handlers(app)

    @app.post("/nodes")
    async def register(node: RegisterNode) -> str:
        raise Conflict("there is a node of that name", node=node.name)

    @app.get("/nodes/{number}")
    async def read(number: int) -> str:
        raise NotFound(f"there is no node {number}", number=number)

    @app.get("/busy")
    async def busy() -> str:
        raise Unavailable("the store is being opened")

    @app.get("/limited")
    async def limited() -> str:
        raise HTTPException(429, "slow down", {"Retry-After": "7"})

    @app.get("/surprise")
    async def surprise() -> str:
        raise ZeroDivisionError("a secret of the inside")

    return app


def ask(method: str, path: str, **options: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(build_app(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(run())


def problem_in(response: httpx.Response) -> Problem:
    assert response.headers["content-type"] == MEDIA_TYPE
    problem = Problem.model_validate_json(response.content)
    assert problem.status == response.status_code
    return problem


def test_an_error_arrives_as_the_error_it_was() -> None:
    error = error_of(problem_in(ask("GET", "/nodes/9")))
    assert isinstance(error, NotFound)
    assert (error.message, error.data) == ("there is no node 9", {"number": 9})


def test_the_body_of_a_request_reaches_the_error() -> None:
    answer = ask("POST", "/nodes", json={"name": "node1", "base_url": "http://node1:9001"})
    assert problem_in(answer).model_extra == {"node": "node1"}
    assert answer.status_code == 409


@pytest.mark.parametrize(
    ("path", "status", "retry"), [("/busy", 503, "1"), ("/limited", 429, "7"), ("/nodes/9", 404, None)]
)
def test_who_should_retry_is_told_when(path: str, status: int, retry: str | None) -> None:
    answer = ask("GET", path)
    assert (problem_in(answer).status, answer.headers.get("retry-after")) == (status, retry)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"name": "-", "base_url": "http://x"}', "body/name"),
        (b'{"name": "a", "base_url": "x"}', "body/base_url"),
        (b'{"name": "a", "base_url": "http://x", "colour": "red"}', "body/colour"),
        (b'{"name": "\\ud800", "base_url": "http://x"}', "body/name"),
        (b'{"name": "a", "base_url": "http://x", "\\ud800": 1}', "body"),
        (b'{"name": ', "body/9"),
        (b"\xff\xfe", "body/0"),
        (b"", "body"),
        (b"[]", "body"),
    ],
)
def test_an_invalid_body_is_answered_with_what_is_wrong_where(body: bytes, where: str) -> None:
    answer = ask("POST", "/nodes", content=body, headers={"Content-Type": "application/json"})
    problem = problem_in(answer)
    assert (problem.status, problem.code) == (422, "invalid-request")
    assert problem.detail.startswith(where)
    assert problem.model_extra is not None
    assert problem.model_extra["errors"][0]["where"] == where


def test_an_invalid_path_is_answered_with_what_is_wrong_where() -> None:
    assert problem_in(ask("GET", "/nodes/nine")).detail.startswith("path/number: ")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "not-found"), ("DELETE", "/nodes", 405, "method-not-allowed")],
)
def test_unknown_routes_are_problems_too(method: str, path: str, status: int, code: str) -> None:
    answer = problem_in(ask(method, path))
    assert (answer.status, answer.code) == (status, code)


def test_a_surprise_is_logged_in_full_and_tells_the_client_nothing() -> None:
    with capture_logs() as events:
        answer = ask("GET", "/surprise")
    assert problem_in(answer).code == "internal"
    assert answer.status_code == 500
    assert "secret" not in answer.text
    (event,) = events
    assert (event["event"], event["log_level"], event["path"]) == ("request.failed", "error", "/surprise")
    assert isinstance(event["exc_info"], ZeroDivisionError)


@pytest.fixture(autouse=True)
def unconfigured_logging() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_openapi_describes_errors_without_dangling_references() -> None:
    document = build_app().openapi()
    for reference in references(document):
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
    described = document["paths"]["/nodes"]["post"]["responses"]["default"]["content"]
    assert set(described[MEDIA_TYPE]["schema"]["required"]) == {"title", "status", "detail", "code"}
    assert json.dumps(document)
