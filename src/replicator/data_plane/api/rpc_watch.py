"""Giving up on gRPC clients that do not take what they are sent: gRPC itself waits for them for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from replicator.kernel.clock import Clock

_SWEEPS_PER_TIMEOUT = 4


class CallWatch:
    """Cancels calls that have waited for their client for `timeout_s`, at most a quarter later.

    One thread looks at all of them. Any thread may call any method.
    """

    def __init__(self, *, timeout_s: float, clock: Clock) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._since_s: dict[grpc.ServicerContext, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rpc-watch", daemon=True)

    def start(self) -> None:
        """Watch until stopped."""
        self._thread.start()

    def stop(self) -> None:
        """No more calls are cancelled once this has returned; no harm where it was not started."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    @contextmanager
    def waiting(self, context: grpc.ServicerContext) -> Iterator[None]:
        """The call waits for its client while this is entered."""
        self._begin(context)
        try:
            yield
        finally:
            self._end(context)

    def limit(self, context: grpc.ServicerContext) -> None:
        """The call counts as waiting from now to its end."""
        self._begin(context)
        if not context.add_callback(lambda: self._end(context)):
            self._end(context)

    def _begin(self, context: grpc.ServicerContext) -> None:
        with self._lock:
            self._since_s[context] = self._clock.monotonic_s()

    def _end(self, context: grpc.ServicerContext) -> None:
        with self._lock:
            self._since_s.pop(context, None)

    def _run(self) -> None:
        while not self._stopped.wait(self._timeout_s / _SWEEPS_PER_TIMEOUT):
            latest_s = self._clock.monotonic_s() - self._timeout_s
            with self._lock:
                stalled = [context for context, since_s in self._since_s.items() if since_s <= latest_s]
            for context in stalled:
                context.cancel()
