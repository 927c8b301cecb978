"""A gate in front of a source: counts what passes to the destination, and can hold it at a given byte."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from typing import Self

from replicator.testing.processes import HOST
from replicator.testing.waiting import DEADLINE_S

_PIECE_BYTES = 64 * 1024
_BUFFER_BYTES = 64 * 1024
UNLIMITED = 1 << 62


class Gate:
    """A TCP proxy on a port of its own. A context manager.

    `upstream_port` may be set later, and while nothing listens there every connection is reset.
    """

    def __init__(self) -> None:
        self.upstream_port = 0
        self._changed = threading.Condition()
        self._passed = 0
        self._limit = UNLIMITED
        self._bytes_per_s: float | None = None
        self._delay_s = 0.0
        self._twisted_share = 0.0
        self._twists = random.Random(0)
        self._closed = False
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((HOST, 0))

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            open_sockets = list(self._sockets)
        _shut(self._listener)
        for each in open_sockets:
            _shut(each)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        self._listener.close()

    @property
    def url(self) -> str:
        """What the destination is told to be its source."""
        return f"http://{HOST}:{self._listener.getsockname()[1]}"

    @property
    def passed_bytes(self) -> int:
        """Bytes that went from the source to the destination so far, of all connections."""
        return self._passed

    @property
    def is_held(self) -> bool:
        """Whether as much has passed as may."""
        with self._changed:
            return self._passed >= self._limit

    def hold_at(self, passed_bytes: int) -> None:
        """Let no more than that pass in all, until `release` or another limit."""
        with self._changed:
            self._limit = passed_bytes
            self._changed.notify_all()

    def release(self) -> None:
        """Let everything pass again."""
        with self._changed:
            self._limit = UNLIMITED
            self._changed.notify_all()

    def slow_to(self, bytes_per_s: float | None, *, delay_s: float = 0.0) -> None:
        """Let each connection carry so much at most to the destination; None for as much as there is.

        Args:
            delay_s: that whatever the source sends comes later, at most 64 KiB at a time.
        """
        with self._changed:
            self._bytes_per_s = bytes_per_s
            self._delay_s = delay_s

    def twist(self, share: float) -> None:
        """Falsify a byte of each piece that passes, with this probability; 0 for none."""
        with self._changed:
            self._twisted_share = share

    def open_wide(self) -> None:
        """Let everything pass again, at once and as it is."""
        self.release()
        self.slow_to(None)
        self.twist(0.0)

    def cut(self) -> None:
        """End every connection that is open, in the middle of what it carries; new ones pass."""
        with self._changed:
            for each in self._sockets:
                _shut(each)

    def wait_until_held(self) -> None:
        """Wait until as much has passed as may."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._passed >= self._limit, DEADLINE_S):
                raise TimeoutError(f"only {self._passed} of {self._limit} bytes have passed the gate")

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        # Small buffers keep what is on its way, and so has passed but not arrived, small.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        try:
            upstream = _connect_to(self.upstream_port)
        except OSError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            return
        with self._changed:
            self._sockets |= {client, upstream}
        self._start(self._pump, client, upstream, False)
        self._start(self._pump, upstream, client, True)

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        try:
            while data := source.recv(_PIECE_BYTES):
                while data:
                    size = self._admit(len(data), target) if counted else len(data)
                    if counted:
                        self._dawdle(size)
                    target.sendall(self._as_passed(data[:size]) if counted else data[:size])
                    data = data[size:]
        except OSError:
            # One side is gone; the other is told below.
            pass
        finally:
            for each in (source, target):
                _shut(each)
            self._retire(source)

    def _admit(self, wanted: int, target: socket.socket) -> int:
        """How many bytes may pass now; waits while it is none, and raises `OSError` once nobody takes them."""
        with self._changed:
            # What is held here for a process that was killed meanwhile does not pass, and must not count.
            self._changed.wait_for(lambda: self._is_gone(target) or self._passed < self._limit)
            if self._is_gone(target):
                raise OSError("the gate is closed, or the connection")
            size = min(wanted, self._limit - self._passed)
            self._passed += size
            self._changed.notify_all()
            return size

    def _dawdle(self, size: int) -> None:
        bytes_per_s = self._bytes_per_s
        time.sleep(self._delay_s + (size / bytes_per_s if bytes_per_s else 0.0))

    def _as_passed(self, piece: bytes) -> bytes:
        if self._twists.random() >= self._twisted_share:
            return piece
        at = self._twists.randrange(len(piece))
        return piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]

    def _is_gone(self, target: socket.socket) -> bool:
        return self._closed or target not in self._sockets

    def _retire(self, ended: socket.socket) -> None:
        with self._changed:
            self._sockets.discard(ended)
            self._changed.notify_all()
        ended.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()


def _connect_to(port: int) -> socket.socket:
    upstream = socket.socket()
    try:
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        upstream.settimeout(DEADLINE_S)
        upstream.connect((HOST, port))
        upstream.settimeout(None)
    except OSError:
        upstream.close()
        raise
    return upstream


def _shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It is not connected any more.
        return
