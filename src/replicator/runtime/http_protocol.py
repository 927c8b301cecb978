"""uvicorn's HTTP protocol with two things it lacks: a bound on request heads, and one write per response."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES_MAX = 1024 * 1024
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
    """Ends a connection that sends headers or trailers without end, which httptools would collect.

    Counted are bytes since the request began or the last byte of body came. One block of body may follow
    the head before that is known, so `HEAD_BYTES_MAX` leaves room for it.
    """

    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection begins."""
        super().connection_made(GatheringTransport(transport, self.loop))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self.send_400_response(f"The head of a request has at most {HEAD_BYTES_MAX} bytes.")
        else:
            super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_bytes = 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._head_bytes = 0
        super().on_body(body)
