"""Request bodies, read whole within a bound and a deadline before anything looks at them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from replicator.runtime.problems import problem_response
from replicator.wire.problem import Problem, make_problem

BODY_SECONDS_MAX = 30


class BoundedBodies:
    """ASGI middleware: answers 413 to longer bodies and 408 to slower ones.

    Args:
        bytes_max_below: for paths that begin so, in place of `bytes_max`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        bytes_max: int,
        bytes_max_below: Mapping[str, int] | None = None,
        seconds_max: float = BODY_SECONDS_MAX,
    ) -> None:
        self._app = app
        self._bytes_max = bytes_max
        self._bytes_max_below = dict(bytes_max_below or {})
        self._seconds_max = seconds_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds_max):
                first = await _whole(receive, self._bound_of(scope["path"]))
        except TimeoutError:
            first = make_problem(408, f"the body took longer than {self._seconds_max:g} s", "request-timeout")
        if isinstance(first, Problem):
            await problem_response(first, {"Connection": "close"})(scope, receive, send)
        else:
            await self._app(scope, _Replay(first, receive), send)

    def _bound_of(self, path: str) -> int:
        below = (bound for prefix, bound in self._bytes_max_below.items() if path.startswith(prefix))
        return next(below, self._bytes_max)


async def _whole(receive: Receive, bytes_max: int) -> Message | Problem:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return message
        body += message.get("body", b"")
        if len(body) > bytes_max:
            return make_problem(413, f"a body may have {bytes_max} bytes", "too-large")
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
