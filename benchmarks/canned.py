"""A server that answers every request without looking at it: the most that the client can drive here."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import uvloop

from benchmarks.places import LOOPBACK, Address

_STOP_SECONDS = 10.0
_FORK = multiprocessing.get_context("fork")


@contextmanager
def canned_server(*, request_body_bytes: int, answer_body_bytes: int) -> Iterator[Address]:
    """Where such a server listens, for requests that all carry the same number of body bytes."""
    body = bytes(answer_body_bytes)
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {answer_body_bytes}\r\n\r\n".encode() + body
    with socket.create_server((LOOPBACK, 0), backlog=1024) as listener:
        process = _FORK.Process(target=_serve, args=(listener, request_body_bytes, answer), daemon=True)
        process.start()
        address = Address(*listener.getsockname())
    try:
        yield address
    finally:
        process.terminate()
        process.join(_STOP_SECONDS)


def _serve(listener: socket.socket, request_body_bytes: int, answer: bytes) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Canned(request_body_bytes, answer), sock=listener)
        await server.serve_forever()

    uvloop.run(run())


class _Canned(asyncio.Protocol):
    def __init__(self, request_body_bytes: int, answer: bytes) -> None:
        self._body_bytes = request_body_bytes
        self._answer = answer
        self._received = bytearray()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end >= 0 and len(self._received) >= head_end + 4 + self._body_bytes:
            self._received.clear()
            self._transport.write(self._answer)
