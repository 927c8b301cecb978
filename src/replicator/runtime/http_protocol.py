"""uvicorn's HTTP protocol with what it lacks: bounds on request heads, in bytes and in time; one write per
small response; problem+json for what is not HTTP; requests that offer an upgrade answered like any other."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from replicator.wire.problem import MEDIA_TYPE, make_problem

HEAD_BYTES_MAX = 1024 * 1024
HEAD_SECONDS_MAX = 60.0
_HELD_BYTES_MAX = 64 * 1024


class GatheringTransport:
    """A transport that sends a small write together with what follows it in the same turn of the event loop.

    A response is written as a head and a body; for a small one the second system call would cost a fifth of
    the whole request.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """As `asyncio.WriteTransport.write`."""
        if self._held:
            held, self._held = self._held, b""
            if len(data) <= _HELD_BYTES_MAX:
                self._transport.write(b"".join((held, data)))
            else:
                self._transport.writelines([held, data])
        elif len(data) <= _HELD_BYTES_MAX:
            self._held = bytes(data)
            self._loop.call_soon(self.flush)
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send what is held."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.write(held)

    def close(self) -> None:
        """As `asyncio.BaseTransport.close`: what is held still goes out."""
        self.flush()
        self._transport.close()


class HttpProtocol(HttpToolsProtocol):
    """Ends a connection that sends headers or trailers without end, which httptools would collect, and one
    whose next head has not come whole after `HEAD_SECONDS_MAX`.

    Counted are bytes since the request began or the last byte of body came. One block of body may follow
    the head before that is known, so `HEAD_BYTES_MAX` leaves room for it.
    """

    _head_bytes = 0
    _head_due: asyncio.TimerHandle | None = None
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection begins."""
        super().connection_made(GatheringTransport(transport, self.loop))  # type: ignore[arg-type]
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._in_head = False
        self._watch_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self.send_400_response(f"the head of a request has at most {HEAD_BYTES_MAX} bytes")
            return
        super().data_received(data)
        self._watch_head()

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP, or not to be taken."""
        problem = make_problem(HTTPStatus.BAD_REQUEST, msg, "invalid-request").model_dump_json().encode()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (MEDIA_TYPE.encode(), len(problem), problem)
        )
        self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = 0
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head of a request has come whole."""
        self._in_head = False
        super().on_headers_complete()

    def _unsupported_upgrade_warning(self) -> None:
        # The parser has stopped for the protocol that was offered, and the next request needs another. Behind a
        # request with a body there is no next one: its bytes must not be taken for one.
        if not any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers):
            self.parser = HttpRequestParser(self)

    def _watch_head(self) -> None:
        if not self._in_head:
            if self._head_due is not None:
                self._head_due.cancel()
                self._head_due = None
        elif self._head_due is None:
            self._head_due = self.loop.call_later(HEAD_SECONDS_MAX, self.transport.close)

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._head_bytes = 0
        super().on_body(body)
