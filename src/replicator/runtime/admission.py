"""How many connections a server holds open, and what becomes of those beyond.

One too many is answered 503 with `Retry-After` as soon as it sends anything, and closed. Such connections are
few and short-lived; when even they become too many, the next is closed unheard.

A store that finds no free descriptor fails a write. So connections never have more than a part of those the
process may open, and neither have those that the event loop accepts in one turn, before it asks here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from replicator.wire.problem import MEDIA_TYPE, make_problem

REFUSAL_SECONDS_MAX = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How many connections are served, being turned away, and waiting to be accepted, at most."""

    connections: int = 16_384
    refusals: int = 256
    backlog: int = 2048

    def within(self, open_files_max: int) -> ConnectionLimits:
        """The same, or less: together about three quarters of `open_files_max` at most."""
        return ConnectionLimits(
            connections=max(1, min(self.connections, open_files_max * 5 // 8)),
            refusals=max(1, min(self.refusals, open_files_max // 32)),
            backlog=max(1, min(self.backlog, open_files_max // 8)),
        )


class Admission:
    """Decides about each new connection of one server.

    Args:
        on_refused: called for each connection that is turned away.
    """

    def __init__(self, limits: ConnectionLimits, *, on_refused: Callable[[], None] = lambda: None) -> None:
        self.limits = limits
        self._on_refused = on_refused
        self._refusals: set[Refusal] = set()

    def admits(self, open_connections: int) -> bool:
        """Whether there is room for one more."""
        return open_connections < self.limits.connections

    def refuse(self, transport: asyncio.Transport) -> None:
        """Turn away the connection of `transport`."""
        self._on_refused()
        if len(self._refusals) < self.limits.refusals:
            transport.set_protocol(Refusal(transport, self._refusals))
        else:
            transport.set_protocol(asyncio.Protocol())
            transport.abort()


class Refusal(asyncio.Protocol):
    """A connection that is answered without being listened to.

    What else it sends is read and dropped for a while: closing on bytes that nobody read resets the
    connection, and the reset can overtake the answer (RFC 9112, section 9.6).
    """

    def __init__(self, transport: asyncio.Transport, refusals: set[Refusal]) -> None:
        self._transport = transport
        self._refusals = refusals
        self._answered = False
        self._due = asyncio.get_running_loop().call_later(REFUSAL_SECONDS_MAX, transport.abort)
        refusals.add(self)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002  (the protocol's signature)
        """A request began."""
        if not self._answered:
            self._answered = True
            self._transport.write(_answer())
            self._transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (the protocol's signature)
        """The connection has ended."""
        self._due.cancel()
        self._refusals.discard(self)


def _answer() -> bytes:
    body = make_problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "this server holds as many connections as it may; retry shortly, and close those that are not needed",
        "unavailable",
    ).model_dump_json()
    head = (
        f"HTTP/1.1 503 Service Unavailable\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        "retry-after: 1\r\nconnection: close\r\n\r\n"
    )
    return (head + body).encode()
