"""Giving up on clients that neither send nor take a byte: one sweep for all exchanges.

A timer for every wait would cost more than the rest of a small request.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

_SWEEPS_PER_TIMEOUT = 4


class Waiting(Protocol):
    """Something that may be waiting for its client."""

    waiting_since: float | None
    """Event loop time at which the present wait began; None while it does not wait."""

    def give_up(self, after_s: float) -> None:
        """End the wait, which has lasted so long, with an error."""
        ...


class StallWatch:
    """Ends waits that have lasted `timeout_s`, at most a quarter later."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.watched: set[Waiting] = set()

    async def run(self) -> None:
        """Sweep until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.timeout_s / _SWEEPS_PER_TIMEOUT)
            latest = loop.time() - self.timeout_s
            for waiting in list(self.watched):
                if waiting.waiting_since is not None and waiting.waiting_since <= latest:
                    waiting.give_up(self.timeout_s)
