from __future__ import annotations

import time

from replicator.kernel.clock import Clock
from replicator.runtime.clock import SystemClock


def test_the_wall_clock_counts_milliseconds_since_the_epoch() -> None:
    clock: Clock = SystemClock()
    before = int(time.time() * 1000)
    assert before <= clock.wall_ms() <= int(time.time() * 1000) + 1


def test_the_monotonic_clock_never_goes_back() -> None:
    clock: Clock = SystemClock()
    readings = [clock.monotonic_s() for _ in range(1000)]
    assert readings == sorted(readings)
