"""Many small requests over a few connections, each sending its next one when its answer has come.

Written in Python: it takes as much of a core as the server does, and can be the limit itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import uvloop

from benchmarks.places import Address
from replicator.kernel.errors import BrokenPeer

_DEADLINE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `body` None where it has none."""

    method: str
    path: str
    body: bytes | memoryview | None = None
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Load:
    """How many requests were answered with success, in how many seconds."""

    count: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.count / self.seconds


def run_load(address: Address, requests: Iterable[Request], *, connections: int) -> Load:
    """Send `requests`; raises `BrokenPeer` at the first answer that is not a success."""
    return uvloop.run(_run(address, iter(requests), connections))


def until_deadline(requests: Iterable[Request], seconds: float) -> Iterator[Request]:
    """`requests` as long as `seconds` have not passed since the first."""
    end = time.perf_counter() + seconds
    for request in requests:
        if time.perf_counter() > end:
            return
        yield request


async def _run(address: Address, requests: Iterator[Request], connections: int) -> Load:
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    async with asyncio.timeout(_DEADLINE_SECONDS):
        opened = [
            await loop.create_connection(lambda: _Connection(requests), *address) for _ in range(connections)
        ]
        counts = await asyncio.gather(*(protocol.finished for _, protocol in opened))
    return Load(sum(counts), time.perf_counter() - started)


class _Connection(asyncio.Protocol):
    def __init__(self, requests: Iterator[Request]) -> None:
        self._requests = requests
        self._received = bytearray()
        self._answered = 0
        self._transport: asyncio.WriteTransport | None = None
        self.finished: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass of it
        self._send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_exception(BrokenPeer(f"the node closed a connection: {exc}"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._received[:head_end]).lower()
        if not head.startswith(b"http/1.1 2"):
            self._fail(bytes(self._received))
        elif len(self._received) >= head_end + 4 + _content_length(head):
            self._received.clear()
            self._answered += 1
            self._send_next()

    def _send_next(self) -> None:
        assert self._transport is not None
        request = next(self._requests, None)
        if request is None:
            self.finished.set_result(self._answered)
            self._transport.close()
            return
        head = f"{request.method} {request.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        if request.body is None:
            self._transport.write(f"{head}\r\n".encode())
            return
        head += f"Content-Type: {request.content_type}\r\nContent-Length: {len(request.body)}\r\n\r\n"
        self._transport.writelines([head.encode(), request.body])

    def _fail(self, answer: bytes) -> None:
        assert self._transport is not None
        self.finished.set_exception(BrokenPeer(f"an unexpected answer: {answer[:500]!r}"))
        self._transport.abort()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    raise BrokenPeer(f"an answer without a length: {head[:500]!r}")
