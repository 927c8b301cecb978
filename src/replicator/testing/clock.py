"""Time for tests that do not want it to pass."""

from __future__ import annotations


class FrozenClock:
    """`Clock` that shows the same moment until the test sets another."""

    def __init__(self, wall_ms: int = 1_750_000_000_000) -> None:
        self.now_ms = wall_ms

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return self.now_ms

    def monotonic_s(self) -> float:
        """The same, in seconds."""
        return self.now_ms / 1000
