"""Waiting for the committer: from a thread, and from an event loop."""

from __future__ import annotations

import asyncio
import collections
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from replicator.kernel.errors import ReplicatorError

T = TypeVar("T")

Outcome = tuple[Any, ReplicatorError | None]


def wait_settled(start: Callable[[Callable[[T | None, ReplicatorError | None], None]], None]) -> T | None:
    """Call `start` with a `Settle` and block until it has been called; raises the error it was given."""
    settled = threading.Event()
    outcomes: list[tuple[T | None, ReplicatorError | None]] = []

    def settle(done: T | None, error: ReplicatorError | None) -> None:
        outcomes.append((done, error))
        settled.set()

    start(settle)
    settled.wait()
    done, error = outcomes[0]
    if error is not None:
        raise error
    return done


class LoopSettler:
    """The same for coroutines of one event loop. A group of outcomes wakes the loop once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: collections.deque[tuple[asyncio.Future[Any], Outcome]] = collections.deque()
        self._lock = threading.Lock()
        self._woken = False

    async def settled(
        self, start: Callable[[Callable[[T | None, ReplicatorError | None], None]], None]
    ) -> T | None:
        """Call `start` with a `Settle` and wait for it.

        A caller that is cancelled no longer hears the outcome; what it asked for happens all the same.
        """
        future: asyncio.Future[T | None] = self._loop.create_future()

        def settle(done: T | None, error: ReplicatorError | None) -> None:
            with self._lock:
                self._arrived.append((future, (done, error)))
                wake, self._woken = not self._woken, True
            if wake:
                self._wake()

        start(settle)
        return await future

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            # The loop has ended, and with it everybody who waited; the committer goes on.
            if not self._loop.is_closed():
                raise

    def _deliver(self) -> None:
        with self._lock:
            arrived = list(self._arrived)
            self._arrived.clear()
            self._woken = False
        for future, (done, error) in arrived:
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(done)
