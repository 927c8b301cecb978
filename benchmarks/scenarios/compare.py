"""Two nodes that hold the same million small objects, compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.cluster import NODE_NAMES
from benchmarks.figures import Figure
from benchmarks.growth.filling import fill
from benchmarks.growth.probe import open_growing, put
from benchmarks.growth.sizes import Size
from benchmarks.growth.stores import take_snapshot
from benchmarks.migrations import Migration, Migrator
from benchmarks.options import Options
from benchmarks.scenarios.bench import Bench
from benchmarks.scenarios.wire import counted_by
from replicator.kernel.errors import Corrupt

_OBJECTS_PER_S_GOAL = 20_000.0


def prepare(folder: Path, options: Options, say: Callable[[str], None]) -> None:
    """Stores for both nodes, filled by hand: by uploads it would take half an hour."""
    first, second = (folder / name for name in NODE_NAMES)
    opened = open_growing(first)
    put(opened.store, ["really-there"], "real")
    opened.close()
    fill(first, Size(0, 0), Size(options.compare_count, options.compare_count), say)
    take_snapshot(first, second)


def measure(bench: Bench) -> list[Figure]:
    """Objects compared a second by a mirror that has nothing to do, and what that costs on the wire."""
    with Migrator(bench.cluster) as migrator:
        rounds = [_measure_round(bench, migrator, number) for number in range(1, bench.options.rounds + 1)]
    count = bench.options.compare_count
    return [
        Figure(
            name=f"compare {count:,} unchanged objects",
            unit="/s",
            better="higher",
            rounds=tuple(each.job.compared / each.wall_seconds for each in rounds),
            goal=bench.options.goal(_OBJECTS_PER_S_GOAL),
        ),
        Figure(
            name="compare, bytes on the wire for each object",
            unit="B",
            better="lower",
            rounds=tuple(each.wire_bytes / each.job.compared for each in rounds),
            note=counted_by(rounds),
        ),
    ]


def _measure_round(bench: Bench, migrator: Migrator, number: int) -> Migration:
    bench.say(f"comparison, round {number}")
    compared = migrator.run("mirror", prefix="")
    if compared.job.compared < bench.options.compare_count or compared.transfer.bytes_transferred:
        raise Corrupt(
            f"{compared.job.compared} of {bench.options.compare_count} objects were compared, and "
            f"{compared.transfer.bytes_transferred} bytes moved though nothing differs"
        )
    return compared
