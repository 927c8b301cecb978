"""How fast a node may take bytes from other nodes, and give them.

Each limit is a bucket that fills at its rate and holds a tenth of a second's worth at most. Whoever takes
bytes reserves them at once, in every bucket that concerns them, and goes on when these have filled up to
where its own reservation begins. So a large piece is let through and paid for by those behind it; those
who wait go on in the order in which they came; and a change of the rate holds for all of them at once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from replicator.kernel.clock import Clock
from replicator.kernel.errors import Cancelled
from replicator.kernel.names import NodeName
from replicator.wire.sessions import RateLimits

K = TypeVar("K", bound=Hashable)

_BURST_S = 0.1
_LOOK_S = 0.05
_PART_S = 0.5

Wait = Callable[[threading.Condition, float], object]
"""Waits on a condition that the caller holds for so many seconds, or until it is notified."""


class Bucket:
    """Bytes that become available at a rate. Not for several threads at once.

    Places and levels are bytes since the bucket was made. A reservation that begins at `place` is good once
    the bucket has filled up to there.
    """

    def __init__(self, bytes_per_s: float, *, now_s: float) -> None:
        self._bytes_per_s: float | None = bytes_per_s
        self._filled = 0.0
        self._filled_at_s = now_s
        self._reserved = 0

    @property
    def bytes_per_s(self) -> float | None:
        """The rate; None once the limit was taken away."""
        return self._bytes_per_s

    def set_rate(self, bytes_per_s: float | None, *, now_s: float) -> None:
        """The rate from now on, for those that wait as well; None lets all of them go."""
        self._fill(now_s)
        self._bytes_per_s = bytes_per_s

    def reserve(self, n_bytes: int, *, now_s: float) -> int:
        """The place where the next `n_bytes` begin."""
        self._fill(now_s)
        place = self._reserved
        self._reserved += n_bytes
        return place

    def give_back(self, n_bytes: int) -> None:
        """Bytes that were reserved and will not be used: those behind move up."""
        self._filled += n_bytes

    def wait_s(self, place: int, *, now_s: float) -> float:
        """Seconds until the bucket has filled up to `place`, at its present rate; 0 where it has."""
        self._fill(now_s)
        if self._bytes_per_s is None or self._filled >= place:
            return 0.0
        return (place - self._filled) / self._bytes_per_s

    def _fill(self, now_s: float) -> None:
        if self._bytes_per_s is not None:
            burst = self._bytes_per_s * _BURST_S
            risen = self._filled + (now_s - self._filled_at_s) * self._bytes_per_s
            self._filled = min(risen, self._reserved + burst)
        self._filled_at_s = now_s


@dataclass(frozen=True, slots=True)
class _Place:
    bucket: Bucket
    at: int


class Pacer:
    """Holds pulls and answers to the limits in force. Any thread may call any method.

    Args:
        wait: how a thread waits, and `sleep` a coroutine, in seconds; for tests.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        wait: Wait = threading.Condition.wait,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._wait = wait
        self._sleep = sleep
        self._changed = threading.Condition()
        self._ingress: dict[str, Bucket] = {}
        self._egress: dict[str, Bucket] = {}
        self._links: dict[str, Bucket] = {}
        self._jobs: dict[int, Bucket] = {}

    def set_limits(self, limits: RateLimits) -> None:
        """The limits from now on, for those that wait already as well; none at all lets everybody go.

        What `limits` does not name is not limited.
        """
        now_s = self._clock.monotonic_s()
        with self._changed:
            _adopt(self._ingress, _one(limits.ingress_bytes_per_s), now_s)
            _adopt(self._egress, _one(limits.egress_bytes_per_s), now_s)
            _adopt(self._links, limits.links, now_s)
            _adopt(self._jobs, limits.jobs, now_s)
            self._changed.notify_all()

    def take(self, n_bytes: int, *, source: NodeName, job: int, cancelled: threading.Event) -> None:
        """Wait until `n_bytes` of `source` may come in for `job`.

        Raises:
            Cancelled: `cancelled` was set; the bytes are left to others.
        """
        with self._changed, self._reserved(n_bytes, self._concerned(source, job)) as places:
            while True:
                if cancelled.is_set():
                    raise Cancelled("a pull that waited for its bandwidth was stopped")
                wait_s = self._wait_s(places)
                if wait_s == 0:
                    return
                # Whoever sets the event cannot notify.
                self._wait(self._changed, min(wait_s, _LOOK_S))

    def is_limited(self, source: NodeName | None, job: int | None) -> bool:
        """Whether what comes from `source`, or for `job`, has a limit of its own."""
        with self._changed:
            return job in self._jobs or source in self._links

    def egress_part_bytes(self, most: int) -> int:
        """How much to send in one go, at most `most`: half a second's worth, so that nobody takes the wait for silence."""
        with self._changed:
            rates = [bucket.bytes_per_s for bucket in self._egress.values()]
        return min([most, *(max(1, int(rate * _PART_S)) for rate in rates if rate is not None)])

    def take_egress_blocking(self, n_bytes: int, *, gone: threading.Event) -> None:
        """Wait until `n_bytes` may go out to other nodes, part by part; those who wait take turns.

        Raises:
            Cancelled: `gone` was set, for nobody waits for these bytes; what was not passed yet is left to others.
        """
        while n_bytes > 0:
            part = self.egress_part_bytes(n_bytes)
            self._take_egress_part(part, gone)
            n_bytes -= part

    async def take_egress(self, n_bytes: int) -> None:
        """Wait until `n_bytes` may go out to other nodes; a task that is cancelled leaves the bytes to others."""
        with self._reserved(n_bytes, self._egress.values()) as places:
            while wait_s := self._wait_s(places):
                await self._sleep(min(wait_s, _LOOK_S))

    def _take_egress_part(self, n_bytes: int, gone: threading.Event) -> None:
        with self._changed, self._reserved(n_bytes, self._egress.values()) as places:
            while wait_s := self._wait_s(places):
                if gone.is_set():
                    raise Cancelled("the node that asked has left")
                self._wait(self._changed, min(wait_s, _LOOK_S))

    def _concerned(self, source: NodeName, job: int) -> list[Bucket]:
        found = (*self._ingress.values(), self._links.get(source), self._jobs.get(job))
        return [bucket for bucket in found if bucket is not None]

    @contextmanager
    def _reserved(self, n_bytes: int, buckets: Iterable[Bucket]) -> Iterator[list[_Place]]:
        """Places for `n_bytes` in each of `buckets`, which are given back where the block raises."""
        with self._changed:
            now_s = self._clock.monotonic_s()
            places = [_Place(bucket, bucket.reserve(n_bytes, now_s=now_s)) for bucket in buckets]
        try:
            yield places
        except BaseException:
            with self._changed:
                for place in places:
                    place.bucket.give_back(n_bytes)
                self._changed.notify_all()
            raise

    def _wait_s(self, places: list[_Place]) -> float:
        with self._changed:
            now_s = self._clock.monotonic_s()
            return max((place.bucket.wait_s(place.at, now_s=now_s) for place in places), default=0.0)


def _one(bytes_per_s: int | None) -> dict[str, int]:
    return {} if bytes_per_s is None else {"all": bytes_per_s}


def _adopt(buckets: dict[K, Bucket], limits: Mapping[K, int], now_s: float) -> None:
    for name in buckets.keys() - limits.keys():
        buckets.pop(name).set_rate(None, now_s=now_s)
    for name, bytes_per_s in limits.items():
        if name in buckets:
            buckets[name].set_rate(bytes_per_s, now_s=now_s)
        else:
            buckets[name] = Bucket(bytes_per_s, now_s=now_s)
