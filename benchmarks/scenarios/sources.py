"""One object from two nodes at once, each limited to the same rate."""

from __future__ import annotations

import os

import httpx

from benchmarks.figures import Figure, Limit
from benchmarks.migrations import Migration, Migrator
from benchmarks.scenarios.bench import Bench

_LIMIT_BYTES_PER_S = 100_000_000
_GOAL_MB_PER_S = 180.0


def measure(bench: Bench) -> list[Figure]:
    """Megabytes a second that arrive at the destination."""
    size = bench.payload.original().size
    with Migrator(bench.cluster) as migrator:
        rounds = [_measure_round(bench, migrator, number) for number in range(1, bench.options.rounds + 1)]
    return [
        Figure(
            name="two sources of 100 MB/s each",
            unit="MB/s",
            better="higher",
            rounds=tuple(size / 1e6 / each.wall_seconds for each in rounds),
            limits=(Limit(name="both limits", rounds=(2 * _LIMIT_BYTES_PER_S / 1e6,)),),
            goal=bench.options.goal(_GOAL_MB_PER_S),
        )
    ]


def _measure_round(bench: Bench, migrator: Migrator, number: int) -> Migration:
    """The second source has the object by a migration, which is how the control plane knows of it."""
    bench.say(f"two sources, round {number}")
    first, second, destination = bench.cluster.nodes
    object_id = f"shared-{number}"
    bench.payload.fill(seed=500 + number)
    body = bench.payload.original()
    bench.streamer.put(first.address, f"/objects/{object_id}", body)
    migrator.run("migrate", object_id=object_id, dst_node=second.name)
    os.sync()
    with httpx.Client(base_url=bench.cluster.control_plane.url, trust_env=False, timeout=30.0) as client:
        for source in (first, second):
            limit = {"bytes_per_second": _LIMIT_BYTES_PER_S}
            client.put(f"/links/{source.name}/{destination.name}", json=limit).raise_for_status()
    migration = migrator.migrate(object_id)
    bench.require_same(destination.address, f"/objects/{object_id}", body)
    return migration
