"""Work in the background that is not to be felt: so many bytes a second, and others first."""

from __future__ import annotations

from collections.abc import Callable

from replicator.data_plane.storage.parts import StoreParts
from replicator.kernel.clock import Clock
from replicator.kernel.errors import Unavailable

Check = Callable[[], None]
"""Raises `Interrupted` where the work is to end."""

Sleep = Callable[[float], None]
"""Waits so many seconds; may raise to end the work."""

ROWS_PER_PAUSE = 16 * 1024
"""So many rows of the catalog are read at most before work in the background looks whether it is to end."""

_BURST_S = 0.05
_TURN_S = 0.025
_TURNS_MAX = 4


class Interrupted(Unavailable):
    """The work has ended before it was done; it can be taken up again later."""


class Pace:
    """A bucket of bytes that fills at a rate; who takes more than is in it waits.

    Args:
        bytes_per_s_max: the rate.
    """

    def __init__(self, bytes_per_s_max: float, *, clock: Clock, sleep: Sleep) -> None:
        self._seconds_per_byte = 1 / bytes_per_s_max
        self._clock = clock
        self._sleep = sleep
        self._paid_until_s = 0.0

    def take(self, length: int) -> None:
        """Take `length` bytes."""
        now_s = self._clock.monotonic_s()
        self._paid_until_s = max(self._paid_until_s, now_s) + length * self._seconds_per_byte
        if self._paid_until_s - now_s > _BURST_S:
            self._sleep(self._paid_until_s - now_s)

    def pause(self) -> None:
        """Let the work end here where it is to end; to be called in work that takes no bytes for long."""
        self._sleep(0)


class Courtesy:
    """Lets those go first who put and get objects, but not for ever."""

    def __init__(self, parts: StoreParts, *, sleep: Sleep) -> None:
        self._parts = parts
        self._sleep = sleep
        self._seen = self._look()

    def give_way(self) -> None:
        """Wait until nobody has done anything for a moment, at most a tenth of a second."""
        for _ in range(_TURNS_MAX):
            if not self._is_busy():
                return
            self._sleep(_TURN_S)

    def own(self) -> None:
        """What happened last was our own doing."""
        self._seen = self._look()

    def _is_busy(self) -> bool:
        before, self._seen = self._seen, self._look()
        return before != self._seen or bool(self._parts.chunks.holds())

    def _look(self) -> tuple[object, ...]:
        return self._parts.committer.requests_total, self._parts.segments.end


class Brake:
    """What a piece of work steps on between its parts.

    Args:
        check: called first, at every part.
        pace, courtesy: None for work that somebody waits for.

    Attributes:
        passed_bytes: that were read and written.
    """

    def __init__(self, check: Check, *, pace: Pace | None = None, courtesy: Courtesy | None = None) -> None:
        self.passed_bytes = 0
        self._check = check
        self._pace = pace
        self._courtesy = courtesy

    def before(self, length: int) -> None:
        """Before a part that reads and writes `length` bytes."""
        self._check()
        if self._courtesy is not None:
            self._courtesy.give_way()
        if self._pace is not None:
            self._pace.take(length)
        self.passed_bytes += length

    def after(self) -> None:
        """Behind a part."""
        if self._courtesy is not None:
            self._courtesy.own()
