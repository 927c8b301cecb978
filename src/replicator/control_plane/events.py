"""Telling what has happened: to the log, to the metrics, and to whoever waits for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from replicator.control_plane.metrics import Metrics
from replicator.control_plane.ports import Event
from replicator.runtime.logging import get_logger


class Wakeups:
    """Lets coroutines of one event loop wait until something has happened for a topic.

    What happens between `mark` and `wait` is not missed. Nothing is kept from before the process started: a
    wait needs a deadline, and whoever wakes looks again at the database.
    """

    def __init__(self) -> None:
        self._sequence = 0
        self._last: dict[str, int] = {}
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self.closed = False

    def mark(self) -> int:
        """This moment, for `wait`."""
        return self._sequence

    def wake(self, topic: str) -> None:
        """Something has happened for `topic`."""
        self._sequence += 1
        self._last[topic] = self._sequence
        for waiting in self._waiting.get(topic, ()):
            waiting.set()

    def has_woken(self, *topics: str, since: int) -> bool:
        """Whether something has happened for any of `topics` since that mark."""
        return any(self._last.get(topic, 0) > since for topic in topics)

    def wake_all(self, topics: Iterable[str]) -> None:
        """Something has happened for `topics`, as another replica says."""
        for topic in topics:
            self.wake(topic)

    def is_awaited(self, topic: str) -> bool:
        """Whether somebody waits for `topic` just now."""
        return topic in self._waiting

    @contextmanager
    def watching(self, topic: str) -> Iterator[asyncio.Event]:
        """An event that is set by every `wake` of `topic` while the context lasts, and by `close`."""
        woken = asyncio.Event()
        self._waiting[topic].add(woken)
        try:
            yield woken
        finally:
            self._forget(topic, woken)

    def close(self) -> None:
        """From now on nobody waits: the process is about to end."""
        self.closed = True
        for waiting in set().union(*self._waiting.values()):
            waiting.set()

    async def wait(self, *topics: str, since: int, timeout_s: float) -> None:
        """Until something happens for one of `topics`, or has happened since that mark, or time is up."""
        if self.closed or self.has_woken(*topics, since=since):
            return
        woken = asyncio.Event()
        for topic in topics:
            self._waiting[topic].add(woken)
        try:
            async with asyncio.timeout(timeout_s):
                await woken.wait()
        except TimeoutError:
            return
        finally:
            for topic in topics:
                self._forget(topic, woken)

    def _forget(self, topic: str, woken: asyncio.Event) -> None:
        self._waiting[topic].discard(woken)
        if not self._waiting[topic]:
            del self._waiting[topic]


class Publisher:
    """Tells the events of a unit that has become durable."""

    def __init__(self, *, metrics: Metrics, wakeups: Wakeups) -> None:
        self._metrics = metrics
        self._wakeups = wakeups
        self._log = get_logger()

    def __call__(self, events: Sequence[Event]) -> None:
        """Log, count, wake."""
        for event in events:
            getattr(self._log, event.level)(event.name, **event.fields)
            self._metrics.count(event.name)
            for topic in event.wakes:
                self._wakeups.wake(topic)
