"""Ends what waits for a server that does not answer, which no timeout of the server's own can do.

A thread that talks to a server says within which time it will be done, and which connection it uses. When that
time is over the connection's socket is shut down, so the thread finds its connection lost.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg

_LOOK_S = 0.1


@dataclass(slots=True)
class _Limit:
    over_s: float
    line: socket.socket | None = None


class Watchdog:
    """One thread that looks after all that is limited. `close` when nothing is any more."""

    def __init__(self) -> None:
        self._by_thread: dict[int, _Limit] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="database-watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """What this thread `hold`s is shut down if the context takes longer. Not to be nested."""
        me = threading.get_ident()
        with self._lock:
            self._by_thread[me] = _Limit(time.monotonic() + seconds)
        try:
            yield
        finally:
            with self._lock:
                _close(self._by_thread.pop(me))

    def hold(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        """This thread uses `connection` from now on; nothing happens outside `limit`."""
        with self._lock:
            limit = self._by_thread.get(threading.get_ident())
            if limit is not None:
                _close(limit)
                # A descriptor of our own: the connection's may be closed, and its number given anew, any time.
                limit.line = socket.socket(fileno=os.dup(connection.pgconn.socket))

    def hurry(self, seconds: float) -> None:
        """What is limited now is shut down within `seconds`."""
        over_s = time.monotonic() + seconds
        with self._lock:
            for limit in self._by_thread.values():
                limit.over_s = min(limit.over_s, over_s)

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_S):
            now_s = time.monotonic()
            with self._lock:
                for limit in self._by_thread.values():
                    if limit.line is not None and limit.over_s < now_s:
                        with suppress(OSError):
                            limit.line.shutdown(socket.SHUT_RDWR)


def _close(limit: _Limit) -> None:
    if limit.line is not None:
        limit.line.close()
        limit.line = None
