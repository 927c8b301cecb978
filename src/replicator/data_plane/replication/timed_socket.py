"""A socket as `http.client` uses it, where connecting and reading have deadlines as a whole.

A socket's own timeout starts anew with each byte, so a peer that sends one now and then would never meet it.
"""

from __future__ import annotations

import io
import socket
import ssl
from typing import TYPE_CHECKING

from replicator.kernel.clock import Clock
from replicator.kernel.errors import PeerUnreachable
from replicator.runtime.resolve import Address, resolve

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Meter:
    """Bytes that went over sockets, TLS aside; both kinds by one thread at a time."""

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


def connect(host: str, port: int, *, tls: bool, timeout_s: float, clock: Clock, meter: Meter) -> TimedSocket:
    """Connected to the first address of `host` that answers; at most `timeout_s` to resolve and to connect.

    Raises:
        PeerUnreachable: there is no such name or no answer, or TLS could not be agreed on.
    """
    where = f"{host}:{port}"
    failure = PeerUnreachable(f"{where} did not answer within {timeout_s:g} s", host=host)
    deadline_s = clock.monotonic_s() + timeout_s
    for address in resolve(host, port, timeout_s=timeout_s):
        remaining_s = deadline_s - clock.monotonic_s()
        if remaining_s <= 0:
            break
        try:
            opened = _open(address, host, tls, remaining_s)
            return TimedSocket(opened, timeout_s=timeout_s, clock=clock, meter=meter)
        except OSError as error:
            failure = PeerUnreachable(f"{where} cannot be reached: {error.strerror or error}", host=host)
    raise failure


def _open(address: Address, host: str, tls: bool, timeout_s: float) -> socket.socket:
    plain = socket.create_connection(address, timeout_s)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host) if tls else plain
    except OSError:
        plain.close()
        raise


class TimedSocket:
    """Wraps a connected socket.

    Args:
        timeout_s: for each wait for bytes, and for each `sendall` as a whole.
        meter: is told of every byte.

    Attributes:
        deadline_s: until when reading may go on, by the monotonic clock; then it raises `TimeoutError`.
        ended: whether the other side was seen to have closed.
    """

    def __init__(self, connected: socket.socket, *, timeout_s: float, clock: Clock, meter: Meter) -> None:
        self._socket = connected
        self._meter = meter
        self._wait_s = timeout_s
        self._socket.settimeout(timeout_s)
        self._timeout_s = timeout_s
        self._clock = clock
        self.deadline_s = clock.monotonic_s() + timeout_s
        self.ended = False

    def sendall(self, data: bytes) -> None:
        """As of a socket."""
        self._wait_at_most(self._timeout_s)
        self._socket.sendall(data)
        self._meter.sent += len(data)

    def makefile(self, _: str) -> io.BufferedReader:
        """The bytes that come; reading from it keeps the deadline."""
        return io.BufferedReader(_TimedReader(self, self._socket, self._meter))

    def close(self) -> None:
        """Close; what `makefile` gave can still be read, as of a socket."""
        self._socket.close()

    def shut(self) -> None:
        """Wake whoever waits on it. Any thread may call it."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It is closed already.
            return

    def prepare_read(self) -> None:
        """Set how long the next read may wait; raises `TimeoutError` past the deadline."""
        left_s = self.deadline_s - self._clock.monotonic_s()
        if left_s <= 0:
            raise TimeoutError
        self._wait_at_most(min(self._timeout_s, left_s))

    def _wait_at_most(self, wait_s: float) -> None:
        # Setting it costs a system call, and mostly it stays the same.
        if wait_s != self._wait_s:
            self._socket.settimeout(wait_s)
            self._wait_s = wait_s


class _TimedReader(io.RawIOBase):
    def __init__(self, timed: TimedSocket, connected: socket.socket, meter: Meter) -> None:
        self._timed = timed
        self._meter = meter
        self._raw = connected.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int | None:
        self._timed.prepare_read()
        count = self._raw.readinto(buffer)
        self._timed.ended = count == 0
        self._meter.received += count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
