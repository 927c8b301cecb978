"""One server, spoken to over HTTP with a deadline on every wait and errors of the tree.

Small calls have one deadline from name resolution to the last byte of the answer. Streams may take as long
as they move: connecting (name resolution included) has a deadline, and so has every silence.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import responses
from typing import Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from replicator.kernel.errors import BrokenPeer, InvalidRequest, PeerUnreachable, ReplicatorError, Unavailable
from replicator.wire.problem import Problem, error_of, make_problem

ANSWER_BYTES_MAX = 32 * 1024 * 1024
_PROBLEM_BYTES_MAX = 500
_FROM_A_PROXY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})
_SPREAD = random.uniform

Answer = TypeVar("Answer", bound=BaseModel)
Params = Mapping[str, str | int | list[str]]
"""Of a query; a list is the parameter several times."""


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """How long to wait for a server, in seconds."""

    connect_s: float = 5.0
    """To resolve its name and connect."""
    answer_s: float = 30.0
    """For the whole of a small call."""
    stall_s: float = 120.0
    """For the next byte of a stream, and for the answer after an upload's last."""
    retries_s: tuple[float, ...] = ()
    """How long to wait, at most, before a small call is made again that was cut or refused for now; only what may be
    repeated is: reads, and requests with an idempotency key. Who cannot be connected to is not asked again."""
    tries_s: float = 5.0
    """When so much time has passed since the first try, there is no other."""


class Endpoint:
    """A server at a base URL. Use it as an async context manager; safe for concurrent calls.

    Every method raises:
        PeerUnreachable: no connection, a deadline passed, or the connection was lost.
        BrokenPeer: an answer that this release does not understand.
        ReplicatorError: what the server's problem+json says, as its class of the tree.
    """

    def __init__(
        self,
        base_url: str,
        *,
        what: str,
        deadlines: Deadlines | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`what` names the server in errors ("the control plane", "node 'node1'").

        Raises:
            InvalidRequest: `base_url` is not an http or https URL with a host.
        """
        self.base_url = _checked_url(base_url)
        self._what = what
        self._deadlines = deadlines or Deadlines()
        self._client = httpx.AsyncClient(
            transport=transport,
            timeout=httpx.Timeout(self._deadlines.stall_s, connect=self._deadlines.connect_s),
            # Nodes are addressed directly: proxies and netrc of the environment are not for them.
            trust_env=False,
            # Loading certificates takes longer than most calls; without TLS nobody looks at them.
            verify=self.base_url.startswith("https:"),
            headers={"Accept-Encoding": "identity"},
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        answer: type[Answer],
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        message: BaseModel | None = None,
    ) -> Answer:
        """Send `message` as JSON, if any, and read the answer's body as an `answer`."""
        _, body = await self._small_call(method, path, params=params, headers=headers, message=message)
        return self._decoded(answer, body)

    async def command(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None
    ) -> Mapping[str, str]:
        """A call whose answer, if it succeeds, says what it has to say in its headers."""
        told, _ = await self._small_call(method, path, headers=headers)
        return told

    async def upload(
        self,
        path: str,
        *,
        answer: type[Answer],
        blocks: AsyncIterator[bytes],
        headers: Mapping[str, str],
    ) -> Answer:
        """`PUT` a body of any length, block by block; an error of `blocks` ends it and travels."""
        request = self._request("PUT", path, headers=headers, content=blocks)
        async with self._sent(request) as response:
            return self._decoded(answer, await self._read(response))

    @asynccontextmanager
    async def download(
        self,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """`GET` a body of any length; read it with `blocks`."""
        async with self._sent(self._request("GET", path, params=params, headers=headers)) as response:
            yield response

    async def blocks(
        self, response: httpx.Response, *, block_bytes: int | None
    ) -> AsyncGenerator[bytes, None]:
        """The body of a download, with `block_bytes` None as it comes.

        Ends only when all of it has come, as its Content-Length says.
        """
        try:
            async for block in response.aiter_raw(block_bytes):
                yield block
        except httpx.RequestError as error:
            raise self._cut_short(response, error) from error

    async def _small_call(self, method: str, path: str, **parts: Any) -> tuple[httpx.Headers, bytes]:
        """Asked again, a few times, where that does no harm and who answers next may be another replica."""
        repeatable = method == "GET" or "Idempotency-Key" in (parts.get("headers") or {})
        until_s = time.monotonic() + self._deadlines.tries_s
        for delay_s in self._deadlines.retries_s if repeatable else ():
            try:
                return await self._call_once(method, path, **parts)
            except Unavailable as error:
                if isinstance(error.__cause__, (httpx.ConnectError, httpx.ConnectTimeout, TimeoutError)):
                    raise
                if time.monotonic() + delay_s > until_s:
                    raise
            await asyncio.sleep(_SPREAD(delay_s / 2, delay_s))
        return await self._call_once(method, path, **parts)

    async def _call_once(self, method: str, path: str, **parts: Any) -> tuple[httpx.Headers, bytes]:
        request = self._request(method, path, **parts)
        try:
            async with asyncio.timeout(self._deadlines.answer_s), self._sent(request) as response:
                return response.headers, await self._read(response)
        except TimeoutError as error:
            raise self._unreachable(f"no answer within {self._deadlines.answer_s:g} s") from error

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        message: BaseModel | None = None,
        content: AsyncIterator[bytes] | None = None,
    ) -> httpx.Request:
        sent = {**(headers or {}), **({"Content-Type": "application/json"} if message is not None else {})}
        # A change says only what it is about: what is not named stays.
        only_set = method == "PATCH"
        body = (
            content
            if message is None
            else message.model_dump_json(by_alias=True, exclude_unset=only_set).encode()
        )
        try:
            return self._client.build_request(
                method, self.base_url + path, params=params, headers=sent, content=body
            )
        except (UnicodeEncodeError, httpx.InvalidURL) as error:
            raise InvalidRequest(f"a value cannot be sent as it stands: {error}") from error

    @asynccontextmanager
    async def _sent(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """The response to `request`, its body unread; an error answer is raised."""
        try:
            response = await self._client.send(request, stream=True, follow_redirects=False)
        except httpx.LocalProtocolError as error:
            raise InvalidRequest(f"the request cannot be sent as it stands: {error}") from error
        except httpx.RequestError as error:
            raise self._unreachable(_reason(error)) from error
        try:
            if response.status_code >= HTTPStatus.MULTIPLE_CHOICES:
                raise self._refusal(response.status_code, await self._read(response))
            yield response
        finally:
            await response.aclose()

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        try:
            async for block in response.aiter_bytes():
                body += block
                if len(body) > ANSWER_BYTES_MAX:
                    raise self._broken(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        except httpx.RequestError as error:
            raise self._unreachable(_reason(error)) from error
        return bytes(body)

    def _decoded(self, answer: type[Answer], body: bytes) -> Answer:
        try:
            return answer.model_validate_json(body)
        except ValidationError as error:
            raise self._broken(f"something that is no {answer.__name__}") from error

    def _refusal(self, status: int, body: bytes) -> ReplicatorError:
        try:
            return error_of(Problem.model_validate_json(body))
        except ValidationError:
            phrase = responses.get(status)
        if phrase is None or status < HTTPStatus.BAD_REQUEST:
            return self._broken(f"status {status}")
        if status in _FROM_A_PROXY:
            return self._unreachable(f"something between answered {status} {phrase}")
        # A Replicator process answers problem+json, so this came from something before it.
        detail = f"something between here and {self._what} at {self.base_url} answered {status} {phrase}"
        if text := _plain(body):
            detail += f": {text}"
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            detail += f"; GET /ready of {self._what} itself, or of each replica, says why none is ready"
        return error_of(make_problem(status, detail, ""))

    def _unreachable(self, reason: str) -> PeerUnreachable:
        return PeerUnreachable(
            f"{self._what} cannot be reached at {self.base_url}: {reason}; "
            "check that it runs and that the address is right from here",
            url=self.base_url,
        )

    def _broken(self, what_came: str) -> BrokenPeer:
        return BrokenPeer(
            f"{self._what} at {self.base_url} answered with {what_came}; "
            "check that the address is that of a Replicator process of this release",
            url=self.base_url,
        )

    def _cut_short(self, response: httpx.Response, error: httpx.RequestError) -> ReplicatorError:
        if isinstance(error, httpx.TimeoutException):
            return self._unreachable(_reason(error))
        length = response.headers.get("Content-Length", "unknown")
        return BrokenPeer(
            f"{self._what} at {self.base_url} ended its answer after {response.num_bytes_downloaded} of "
            f"{length} bytes: the connection was lost, or the rest is damaged there; its log says which",
            url=self.base_url,
        )


def _checked_url(text: str) -> str:
    try:
        url = httpx.URL(text)
        plain = url.scheme in {"http", "https"} and url.host and not url.query and not url.fragment
    except (httpx.InvalidURL, UnicodeError) as error:
        raise InvalidRequest(f"'{text}' is not a URL: {error}") from error
    if not plain:
        raise InvalidRequest(f"'{text}' is not a URL like http://localhost:8000")
    return text.rstrip("/")


def _plain(body: bytes) -> str:
    """What an answer says in words; empty for the markup that proxies send, which says nothing more."""
    text = " ".join(body[:_PROBLEM_BYTES_MAX].decode(errors="replace").split())
    return "" if "<" in text else text


def _reason(error: httpx.RequestError) -> str:
    match error:
        case httpx.ConnectTimeout():
            return "no connection within the deadline, name resolution included"
        case httpx.ConnectError():
            return _system_reason(error) or "no connection"
        case httpx.TimeoutException():
            return "it fell silent for longer than the deadline"
        case _:
            return "the connection was lost"


def _system_reason(error: BaseException) -> str | None:
    """What the operating system said, found behind the layers that wrapped it."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, BaseExceptionGroup):
            behind = behind.exceptions[0]
        if isinstance(behind, OSError) and behind.errno is not None:
            # Failures of name resolution have negative numbers and a text of their own.
            return (os.strerror(behind.errno) if behind.errno > 0 else str(behind.strerror)).lower()
        behind = behind.__cause__ or behind.__context__
    return None
