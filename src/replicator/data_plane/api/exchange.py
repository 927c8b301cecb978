"""One HTTP request and its response on bare ASGI: the path where a framework would cost half the time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from replicator.data_plane.api.stall import Pace, Patience
from replicator.data_plane.objects.blocks import SHORT_BYTES_MAX
from replicator.kernel.errors import (
    Cancelled,
    InvalidRequest,
    ReplicatorError,
    StoreFailed,
    TooLarge,
    Unavailable,
)
from replicator.wire.problem import MEDIA_TYPE, make_problem, problem_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]

# A client that sends a short body may read the answer only afterwards; a long one it need not finish.
_DISCARD_BYTES_MAX = 1024 * 1024
_LINGER_SECONDS = 5.0


def _combined(lines: HeaderList) -> dict[bytes, bytes]:
    """Headers by name; lines of the same name are one list (RFC 9110, section 5.3)."""
    headers = dict(lines)
    if len(headers) < len(lines):
        for name in headers:
            headers[name] = b", ".join(value for given, value in lines if given == name)
    return headers


class Exchange:
    """A request that is being answered, by the task that makes it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, patience: Patience) -> None:
        self.method: str = scope["method"]
        self.path: bytes = scope["raw_path"]
        self.query: bytes = scope["query_string"]
        self.headers = _combined(scope["headers"])
        self.status = 0
        self.waiting_since: float | None = None
        self._scope = scope
        self._receive = receive
        self._send = send
        self._patience = patience
        self._body_ended = False
        self._task = asyncio.current_task()
        self._now = asyncio.get_running_loop().time
        self._given_up_after_s: float | None = None
        self._too_slow = False
        self._taken: Pace | None = None
        self._leaving: asyncio.Task[None] | None = None

    def give_up(self, after_s: float) -> None:
        """The client has stalled for so long: what waits for it raises `Unavailable`."""
        assert self._task is not None
        self._given_up_after_s = after_s
        self._task.cancel()

    def watch_client(self) -> None:
        """From now on `send` raises `Cancelled` once the client has left; otherwise nothing would tell."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._wait_until_gone())

    async def close(self) -> None:
        """The request is answered."""
        if self._leaving is not None:
            self._leaving.cancel()
            await asyncio.wait([self._leaving])

    @property
    def started(self) -> bool:
        """Whether the response has begun."""
        return self.status != 0

    @property
    def body_bytes(self) -> int | None:
        """The length that the request announces for its body; None where it does not."""
        length = self.headers.get(b"content-length", b"")
        return int(length) if length.isdigit() else None

    async def delegate(self, app: ASGIApp) -> None:
        """Let `app` answer. Its response is watched like any other; its reading of the body is its own affair.

        Raises:
            Unavailable: the client stalled.
        """

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self.start(message["status"], message["headers"])
            else:
                await self.send(message.get("body", b""), more=message.get("more_body", False))

        try:
            await app(self._scope, self._receive, send)
        except Exception as error:
            if self._given_up_after_s is None:
                raise
            raise self._stalled() from error

    async def body(self, block_bytes: Callable[[], int]) -> AsyncIterator[list[bytes]]:
        """The request's body in blocks of at least `block_bytes()`, the last one aside.

        Raises:
            Cancelled: the client went away before the end.
            InvalidRequest: the body is not as long as it was said to be.
            Unavailable: the client stalled, or sent too slowly.
        """
        pace = Pace(self._patience)
        block: list[bytes] = []
        length = received = 0
        more = True
        while more:
            since = self._now()
            message = await self._from_client(self._receive())
            if message["type"] == "http.disconnect":
                raise Cancelled("the client closed the connection before the end of the body")
            if part := message.get("body"):
                block.append(part)
                length += len(part)
                received += len(part)
            more = message.get("more_body", False)
            self._body_ended = not more
            if more:
                self._check_pace(pace, self._now() - since, len(part or b""))
            if not more and received != int(self.headers.get(b"content-length", received)):
                raise InvalidRequest(f"the body ended after {received} bytes, before its Content-Length")
            if length >= block_bytes():
                yield block
                block, length = [], 0
        if block:
            yield block

    async def short_body(self, bytes_max: int) -> bytes:
        """The whole body; raises `TooLarge` above `bytes_max`, and what `body` raises."""
        parts: list[bytes] = []
        length = 0
        async for block in self.body(lambda: 1):
            parts += block
            length += sum(map(len, block))
            if length > bytes_max:
                raise TooLarge(f"the body has more than {bytes_max} bytes")
        return b"".join(parts)

    async def start(self, status: int, headers: HeaderList) -> None:
        """Send status and headers."""
        self.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, body: bytes | memoryview, *, more: bool) -> None:
        """Send a part of the response's body; `more` says whether another follows.

        Raises:
            Cancelled: the client went away.
            Unavailable: the client stalled, or takes what it is sent too slowly.
        """
        if self._leaving is not None and self._leaving.done():
            raise Cancelled("the client closed the connection before the end of the response")
        if not more and len(body) > SHORT_BYTES_MAX:
            # The server answers for what it has taken, and lets go of the request with its last part. With
            # another part behind it, a client that does not read still counts as served and is watched.
            await self._send_part(body, more=True)
            body = b""
        await self._send_part(body, more=more)

    async def respond(self, status: int, body: bytes, headers: HeaderList, *, linger: bool = False) -> None:
        """Send a whole response; `linger` before its end, for a client that still sends."""
        await self.start(status, [*headers, (b"content-length", b"%d" % len(body))])
        if linger:
            await self.send(body, more=True)
            await self._discard_body()
            body = b""
        await self.send(body, more=False)

    async def respond_empty(self, status: int, headers: HeaderList) -> None:
        """Send a response that has no body, such as 204, 304 or the answer to HEAD."""
        await self.start(status, headers)
        await self.send(b"", more=False)

    async def respond_json(self, status: int, body: bytes, headers: HeaderList) -> None:
        """Send a body that is JSON."""
        await self.respond(status, body, [(b"content-type", b"application/json"), *headers])

    async def refuse(self, error: ReplicatorError, headers: HeaderList) -> None:
        """Send `error`, with what has not come yet of the request's body either read or cut off."""
        linger = False
        if b"upgrade" in self.headers:
            # What follows the head is taken for the other protocol, and cannot be told from a request.
            headers = [*headers, (b"connection", b"close")]
        elif not self._body_ended:
            length = self.headers.get(b"content-length", b"")
            if self._given_up_after_s is not None or self._too_slow:
                headers = [*headers, (b"connection", b"close")]
            elif length.isdigit() and int(length) <= _DISCARD_BYTES_MAX:
                async for _ in self.body(lambda: 1):
                    pass
            elif length or b"transfer-encoding" in self.headers:
                headers = [*headers, (b"connection", b"close")]
                linger = True
        await self.respond_problem(error, headers, linger=linger)

    async def respond_problem(
        self, error: ReplicatorError, headers: HeaderList, *, linger: bool = False
    ) -> None:
        """Send `error` as problem+json."""
        problem = problem_of(error)
        if problem.status == HTTPStatus.SERVICE_UNAVAILABLE and not isinstance(error, StoreFailed):
            headers = [*headers, (b"retry-after", b"1")]
        body = json.dumps(problem.model_dump()).encode()
        sent = [(b"content-type", MEDIA_TYPE.encode()), *headers]
        await self.respond(problem.status, body, sent, linger=linger)

    async def respond_method_not_allowed(self, allowed: str) -> None:
        """Send a 405 that names the methods of this path."""
        problem = make_problem(
            HTTPStatus.METHOD_NOT_ALLOWED, f"this path takes {allowed}", "method-not-allowed"
        )
        sent = [(b"content-type", MEDIA_TYPE.encode()), (b"allow", allowed.encode())]
        await self.respond(problem.status, problem.model_dump_json().encode(), sent)

    async def _send_part(self, body: bytes | memoryview, *, more: bool) -> None:
        since = self._now()
        await self._from_client(self._send({"type": "http.response.body", "body": body, "more_body": more}))
        if more:
            # The wait was for what had been sent before, so a client is ahead by one part at most.
            self._taken = self._taken or Pace(self._patience)
            self._taken.note(waited_s=self._now() - since, passed_bytes=len(body))

    def _check_pace(self, pace: Pace, waited_s: float, received_bytes: int) -> None:
        try:
            pace.note(waited_s=waited_s, passed_bytes=received_bytes)
        except Unavailable:
            self._too_slow = True
            raise

    async def _discard_body(self) -> None:
        # Closing on bytes that nobody read resets the connection, and the reset can overtake the answer
        # (RFC 9112, section 9.6).
        with contextlib.suppress(TimeoutError, ReplicatorError):
            async with asyncio.timeout(_LINGER_SECONDS):
                async for _ in self.body(lambda: 1):
                    pass

    async def _wait_until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _from_client(self, step: Awaitable[Any]) -> Any:
        self.waiting_since = self._now()
        try:
            return await step
        except asyncio.CancelledError:
            if self._given_up_after_s is None:
                raise
            assert self._task is not None
            self._task.uncancel()
            raise self._stalled() from None
        finally:
            self.waiting_since = None

    def _stalled(self) -> Unavailable:
        return Unavailable(f"the client took more than {self._given_up_after_s:g} s to send or take a block")
