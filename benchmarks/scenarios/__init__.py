"""What is measured: each scenario gets a cluster of its own."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.figures import Figure
from benchmarks.scenarios import compression, growth, idle, listing, many, migrate, reclaim, small, stream
from benchmarks.scenarios.bench import Bench

SCENARIOS: dict[str, Callable[[Bench], list[Figure]]] = {
    "stream": stream.measure,
    "small": small.measure,
    "migrate": migrate.measure,
    "many": many.measure,
    "reclaim": reclaim.measure,
    "idle": idle.measure,
    "listing": listing.measure,
    "compression": compression.measure,
    "growth": growth.measure,
}
