"""Bodies of requests: bounded in length and in time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from replicator.runtime.bodies import BoundedBodies

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def echo(_: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body, and then waits for the client to go."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message.get("body", b"")})
    assert (await receive())["type"] == "http.disconnect"


async def exchange(
    *received: Message,
    seconds_max: float = 30,
    path: str = "/",
    bytes_max_below: dict[str, int] | None = None,
) -> tuple[int, bytes]:
    """The status and body of the answer to a request that comes in `received`, and then stalls."""
    coming = iter(received)
    sent: list[Any] = []

    async def receive() -> Message:
        message = next(coming, None)
        return message if message is not None else await asyncio.Future()

    async def send(message: Message) -> None:
        sent.append(message)

    bodies = BoundedBodies(echo, bytes_max=10, seconds_max=seconds_max, bytes_max_below=bytes_max_below)
    await bodies({"type": "http", "path": path}, receive, send)
    return sent[0]["status"], sent[1]["body"]


def part(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


GONE: Message = {"type": "http.disconnect"}


async def test_a_body_in_parts_arrives_whole() -> None:
    parts = [part(b"12345", more=True), part(b"67890", more=False)]
    assert await exchange(*parts, GONE) == (200, b"1234567890")


async def test_a_body_that_is_too_long_is_not_read_on() -> None:
    status, body = await exchange(part(b"12345", more=True), part(b"678901", more=True))
    assert (status, json.loads(body)["code"]) == (413, "too-large")


async def test_some_paths_take_longer_bodies() -> None:
    longer = part(b"12345678901", more=False)
    bounds = {"/sessions": 20}
    assert (await exchange(longer, GONE, path="/sessions/1", bytes_max_below=bounds))[0] == 200
    assert (await exchange(longer, GONE, path="/jobs", bytes_max_below=bounds))[0] == 413


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    status, body = await exchange(part(b"12345", more=True), seconds_max=0.05)
    assert (status, json.loads(body)["code"]) == (408, "request-timeout")


async def test_a_client_that_goes_in_the_middle_is_gone() -> None:
    assert await exchange(part(b"12345", more=True), GONE, GONE) == (200, b"")
