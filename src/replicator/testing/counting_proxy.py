"""A proxy that counts what connections carry, to hold what a program says of itself against."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import NamedTuple, Self

from replicator.testing.processes import HOST
from replicator.testing.waiting import wait_until

_BLOCK_BYTES = 256 * 1024


class Carried(NamedTuple):
    """Bytes of all connections, as the client sees them."""

    received: int
    sent: int


class CountingProxy:
    """Passes connections to `port` of this machine on. A context manager."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._received = self._sent = 0
        self._open = 0
        self._sockets: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, name="counting-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def counted(self) -> Carried:
        """What was carried, once every connection has ended."""
        wait_until(lambda: self._open == 0, "every connection through the proxy ends")
        return Carried(self._received, self._sent)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            source = socket.create_connection((HOST, self._to))
            self._sockets += [client, source]
            with self._lock:
                self._open += 2
            for start, end in ((client, source), (source, client)):
                threading.Thread(
                    target=self._pass_on, args=(start, end, start is source), name="proxied", daemon=True
                ).start()

    def _pass_on(self, start: socket.socket, end: socket.socket, to_client: bool) -> None:
        with contextlib.suppress(OSError):
            while block := start.recv(_BLOCK_BYTES):
                with self._lock:
                    self._received += len(block) if to_client else 0
                    self._sent += 0 if to_client else len(block)
                end.sendall(block)
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_WR)
        with self._lock:
            self._open -= 1
