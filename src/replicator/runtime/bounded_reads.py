"""Reading from sockets in pieces that get smaller as more requests are in progress.

The event loop would read up to 256 KiB from every socket that has them, before any request runs: a crowd of
uploads could fill the memory in one turn of the loop.
"""

from __future__ import annotations

import asyncio

READ_BYTES_MAX = 256 * 1024
READ_BYTES_MIN = 16 * 1024
_READ_BYTES_TOGETHER = 32 * 1024 * 1024

# Filled and emptied within one callback of the event loop, so one does for all connections.
_BUFFER = memoryview(bytearray(READ_BYTES_MAX))


def read_bytes(requests: int) -> int:
    """How many bytes to read at once while `requests` are in progress."""
    share = _READ_BYTES_TOGETHER // max(1, requests)
    return min(READ_BYTES_MAX, max(READ_BYTES_MIN, share))


class BoundedReads(asyncio.BufferedProtocol):
    """Stands between a transport and `protocol`, one of the server's connections.

    Args:
        requests: grows and shrinks with the requests in progress.
    """

    def __init__(self, protocol: asyncio.Protocol, requests: set[asyncio.Task[None]]) -> None:
        self._protocol = protocol
        self._requests = requests
        self.connection_lost = protocol.connection_lost  # type: ignore[method-assign]
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]
        self.pause_writing = protocol.pause_writing  # type: ignore[method-assign]
        self.resume_writing = protocol.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  (the protocol's signature)
        """Where the next bytes go."""
        return _BUFFER[: read_bytes(len(self._requests))]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self._protocol.data_received(bytes(_BUFFER[:nbytes]))
