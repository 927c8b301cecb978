"""uvicorn's HTTP protocol with what it lacks: bounds on connections, on request heads, in bytes and in time, on
pipelined requests and on bytes read ahead; an end for connections whose client reads no more; one write per
small response; problem+json for what is not HTTP; requests that offer an upgrade answered like any other."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from replicator.kernel.errors import InvalidRequest
from replicator.runtime.admission import Admission
from replicator.runtime.bounded_reads import BoundedReads, read_bytes
from replicator.wire.problem import MEDIA_TYPE, make_problem

HEAD_BYTES_MAX = 1024 * 1024
HEAD_SECONDS_MAX = 60.0
CLOSE_SECONDS_MAX = 60.0
PIPELINED_MAX = 64
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
        """As `asyncio.BaseTransport.close`: what is held still goes out, to a client that takes it in time."""
        self.flush()
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._loop.call_later(CLOSE_SECONDS_MAX, self._transport.abort)


class HttpProtocol(HttpToolsProtocol):
    """Ends a connection that sends headers or trailers without end, which httptools would collect, one that
    sends anything but does not complete its next head within `HEAD_SECONDS_MAX`, and one that sends many
    requests without waiting for answers.

    Counted are bytes since the request began or the last byte of body came. One block of body may follow
    the head before that is known, so `HEAD_BYTES_MAX` leaves room for it.
    """

    _head_bytes = 0
    _head_due: asyncio.TimerHandle | None = None
    _in_head = True

    def __init__(self, *arguments: Any, admission: Admission, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._admission = admission

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection begins."""
        if not self._admission.admits(len(self.connections)):
            self._admission.refuse(transport)
            return
        super().connection_made(GatheringTransport(transport, self.loop))  # type: ignore[arg-type]
        transport.set_protocol(BoundedReads(self, self.tasks))
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._watch_head(ended=True)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self.send_400_response(f"the head of a request has at most {HEAD_BYTES_MAX} bytes")
            return
        super().data_received(data)
        if not self.transport.is_closing():
            self._watch_head()

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP, or not to be taken.

        While a response is under way there is no answer: its client would take it for a part of that.
        """
        if self.pipeline or (self._is_answering and self.cycle.response_started):
            self.transport.close()
            return
        problem = make_problem(HTTPStatus.BAD_REQUEST, msg, "invalid-request").model_dump_json().encode()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: %b\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (MEDIA_TYPE.encode(), len(problem), problem)
        )
        self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self.pipeline) >= PIPELINED_MAX:
            raise InvalidRequest(f"more than {PIPELINED_MAX} requests wait for those before them")
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

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch_head(self, *, ended: bool = False) -> None:
        # Not only within a head: line ends between requests, and a body that outlives its answer, are no request.
        if ended or (self._is_answering and not self._in_head):
            if self._head_due is not None:
                self._head_due.cancel()
                self._head_due = None
        elif self._head_due is None:
            self._head_due = self.loop.call_later(HEAD_SECONDS_MAX, self.transport.close)

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._head_bytes = 0
        super().on_body(body)
        if len(self.cycle.body) > read_bytes(len(self.tasks)):
            self.flow.pause_reading()
