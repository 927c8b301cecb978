"""Giving up on clients that neither send nor take a byte, and on those that send or take next to nothing.

One sweep looks at all exchanges: a timer for every wait would cost more than the rest of a small request. It
cannot see a client that sends or takes a byte now and then, so the bytes of a body are held against the time that
was spent waiting for the client, an interval at a time. Time that the node took itself does not count.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from replicator.kernel.errors import Unavailable

_SWEEPS_PER_TIMEOUT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a client's next block, and how slowly a body may go, on average over that time."""

    timeout_s: float
    body_bytes_per_s_min: int


class Pace:
    """How fast one body goes, either way."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._waited_s = 0.0
        self._passed_bytes = 0

    def note(self, *, waited_s: float, passed_bytes: int) -> None:
        """Bytes passed after a wait for the client; raises `Unavailable` where an interval ends with too few."""
        self._waited_s += waited_s
        self._passed_bytes += passed_bytes
        if self._waited_s < self._patience.timeout_s:
            return
        if self._passed_bytes < self._patience.body_bytes_per_s_min * self._waited_s:
            raise Unavailable(
                f"the client sent or took {self._passed_bytes} bytes in {self._waited_s:.3g} s; "
                f"a body has to go at {self._patience.body_bytes_per_s_min} bytes a second"
            )
        self._waited_s, self._passed_bytes = 0.0, 0


class Waiting(Protocol):
    """Something that may be waiting for its client."""

    waiting_since: float | None
    """Event loop time at which the present wait began; None while it does not wait."""

    def give_up(self, after_s: float) -> None:
        """End the wait, which has lasted so long, with an error."""
        ...


class StallWatch:
    """Ends waits that have lasted `patience.timeout_s`, at most a quarter later."""

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.watched: set[Waiting] = set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        loop = asyncio.get_running_loop()
        timeout_s = self.patience.timeout_s
        while True:
            await asyncio.sleep(timeout_s / _SWEEPS_PER_TIMEOUT)
            latest = loop.time() - timeout_s
            for waiting in list(self.watched):
                if waiting.waiting_since is not None and waiting.waiting_since <= latest:
                    waiting.give_up(timeout_s)
