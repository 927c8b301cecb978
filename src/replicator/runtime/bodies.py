"""Request bodies, read whole within a bound and a deadline before anything looks at them."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from replicator.runtime.problems import problem_response
from replicator.wire.problem import Problem, make_problem

BODY_SECONDS_MAX = 30


class BoundedBodies:
    """ASGI middleware: answers 413 to longer bodies and 408 to slower ones."""

    def __init__(self, app: ASGIApp, *, bytes_max: int, seconds_max: float = BODY_SECONDS_MAX) -> None:
        self._app = app
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds_max):
                first = await self._whole(receive)
        except TimeoutError:
            first = make_problem(408, f"the body took longer than {self._seconds_max:g} s", "request-timeout")
        if isinstance(first, Problem):
            await problem_response(first, {"Connection": "close"})(scope, receive, send)
        else:
            await self._app(scope, _Replay(first, receive), send)

    async def _whole(self, receive: Receive) -> Message | Problem:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return message
            body += message.get("body", b"")
            if len(body) > self._bytes_max:
                return make_problem(413, f"a body may have {self._bytes_max} bytes", "too-large")
            if not message.get("more_body", False):
                return {"type": "http.request", "body": bytes(body), "more_body": False}


class _Replay:
    """Gives the body once, and then what the server has to say."""

    def __init__(self, first: Message, receive: Receive) -> None:
        self._first: Message | None = first
        self._receive = receive

    async def __call__(self) -> Message:
        first, self._first = self._first, None
        return first if first is not None else await self._receive()
