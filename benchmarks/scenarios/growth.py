"""A store with ten times the chunks beside a small one; `make growth` does it with millions."""

from __future__ import annotations

from benchmarks.figures import Figure, Limit
from benchmarks.growth.sizes import QUICK
from benchmarks.growth.stores import measure_growth
from benchmarks.growth.table import ROWS
from benchmarks.scenarios.bench import Bench

_PUTS = 500


def measure(bench: Bench) -> list[Figure]:
    """Each figure of growth at the larger size, beside the same at the smaller one; no node takes part."""
    smallest, largest = QUICK
    results = measure_growth(
        bench.folder / "stores", QUICK, rounds=bench.options.rounds, puts=_PUTS, say=bench.say
    )
    return [
        Figure(
            name=f"{row.title}, {largest.chunks} chunks",
            unit=row.unit,
            better="lower",
            rounds=tuple(getattr(reading, row.field) for reading in results[largest]),
            limits=(
                Limit(
                    name=f"{smallest.chunks} chunks",
                    rounds=tuple(getattr(reading, row.field) for reading in results[smallest]),
                ),
            ),
        )
        for row in ROWS
    ]
