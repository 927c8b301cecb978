"""A slow link with deep buffers: what is sent waits in them, and so does the answer to a ping."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from replicator.testing.processes import HOST

_BLOCK_BYTES = 4096


@contextmanager
def slow_link(port: int, *, bytes_per_s: int) -> Iterator[int]:
    """A port of this machine that leads to `port`; answers come back at that rate."""
    with socket.create_server((HOST, 0)) as listener, contextlib.ExitStack() as stack:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client = stack.enter_context(listener.accept()[0])
                    source = stack.enter_context(socket.create_connection((HOST, port)))
                    _start(_pass_on, client, source, None)
                    _start(_pass_on, source, client, bytes_per_s)

        _start(accept)
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def _start(work: object, *args: object) -> None:
    threading.Thread(target=work, args=args, name="slow-link", daemon=True).start()  # type: ignore[arg-type]


def _pass_on(start: socket.socket, end: socket.socket, bytes_per_s: int | None) -> None:
    with contextlib.suppress(OSError):
        while block := start.recv(_BLOCK_BYTES):
            end.sendall(block)
            if bytes_per_s is not None:
                time.sleep(len(block) / bytes_per_s)
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_WR)
