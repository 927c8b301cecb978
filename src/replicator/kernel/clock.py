"""Time as an argument: whoever needs it takes a `Clock`, so that tests can own it."""

from typing import Protocol


class Clock(Protocol):
    """Two readings of time that must not be mixed."""

    def wall_ms(self) -> int:
        """Milliseconds since the Unix epoch. May jump; never compared between machines."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since some moment of this process. Never goes back; for durations and deadlines."""
        ...
