"""Connections that are open and say nothing, held by a process of their own, so that they cost a client nothing.

Every other one has had a request answered before it fell silent; the rest have never sent a byte.
"""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from replicator.kernel.errors import Unavailable
from replicator.runtime.bootstrap import raise_open_files_limit

_REQUEST = b"HEAD /health HTTP/1.1\r\nHost: idle\r\n\r\n"
_TIMEOUT_S = 60.0
_FILES_BESIDES = 64


class IdleConnections:
    """So many connections to one port."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def count_open(self) -> int:
        """How many the other side has not closed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise Unavailable("the process that holds the idle connections has ended; its output says why")
        return int(answer)


@contextmanager
def idle_connections(port: int, count: int) -> Iterator[IdleConnections]:
    """`count` idle connections to `port` of this machine, while the context lasts."""
    command = [sys.executable, "-m", "replicator.testing.idle_connections", str(port), str(count)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        idle = IdleConnections(process)
        idle.count_open()
        yield idle


def connections_possible() -> int:
    """How many connections one process of this user may hold."""
    return raise_open_files_limit() - _FILES_BESIDES


def _hold(port: int, count: int) -> None:
    raise_open_files_limit()
    held = [_connect(port, talks=number % 2 == 0) for number in range(count)]
    silent = select.poll()
    for connection in held:
        silent.register(connection, select.POLLIN)
    for _ in sys.stdin:
        sys.stdout.write(f"{count - len(silent.poll(0))}\n")
        sys.stdout.flush()


def _connect(port: int, *, talks: bool) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
    if talks:
        connection.sendall(_REQUEST)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            received = connection.recv(4096)
            assert received, "the server closed a connection that asked for its health"
            answer += received
    return connection


if __name__ == "__main__":
    _hold(int(sys.argv[1]), int(sys.argv[2]))
