"""Thousands of objects: stored, and migrated by one job."""

from __future__ import annotations

import os
from dataclasses import dataclass

from benchmarks.figures import Figure, Limit
from benchmarks.limits import write_and_sync
from benchmarks.load import Request, run_load
from benchmarks.migrations import Migration, Migrator
from benchmarks.payload import Body, Slice
from benchmarks.scenarios.bench import Bench
from benchmarks.scenarios.wire import overhead_figure

_UPLOAD_CONNECTIONS = 8
_GOAL_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    write_and_sync: float
    uploads_per_second: float
    migration: Migration


def measure(bench: Bench) -> list[Figure]:
    """Objects a second stored, and seconds and objects a second of migrating them."""
    with Migrator(bench.cluster) as migrator:
        rounds = [_measure_round(bench, migrator, number) for number in range(1, bench.options.rounds + 1)]
    count = bench.options.many_count
    name = f"{count} x {bench.options.many_bytes // 1024} KiB"
    written = tuple(each.write_and_sync for each in rounds)
    rate = Limit(name="write + fdatasync", rounds=tuple(count / each for each in written))
    return [
        Figure(
            name=f"PUT {name}",
            unit="/s",
            better="higher",
            rounds=tuple(each.uploads_per_second for each in rounds),
            limits=(rate,),
            note=f"client: Python, {_UPLOAD_CONNECTIONS} connections",
        ),
        Figure(
            name=f"migrate {name}",
            unit="s",
            better="lower",
            rounds=tuple(each.migration.wall_seconds for each in rounds),
            limits=(Limit(name="write + fdatasync", rounds=written),),
            goal=bench.options.goal(_GOAL_SECONDS),
            note="one job, by prefix",
        ),
        Figure(
            name=f"migrate {name}",
            unit="/s",
            better="higher",
            rounds=tuple(count / each.migration.wall_seconds for each in rounds),
            limits=(rate,),
        ),
        overhead_figure(
            f"migrate {name}", [each.migration for each in rounds], count * bench.options.many_bytes
        ),
    ]


def _measure_round(bench: Bench, migrator: Migrator, number: int) -> _Round:
    bench.say(f"many objects, round {number}")
    count, size = bench.options.many_count, bench.options.many_bytes
    bench.payload.fill(seed=400 + number)
    written = write_and_sync(bench.payload, count * size, bench.folder)
    ids = [f"many-{number}/{index}" for index in range(count)]
    uploads = [
        Request("PUT", f"/objects/{each}", bench.payload.view[index * size : (index + 1) * size])
        for index, each in enumerate(ids)
    ]
    os.sync()
    stored = run_load(bench.addresses[0], uploads, connections=_UPLOAD_CONNECTIONS)
    os.sync()
    migration = migrator.run("migrate", prefix=f"many-{number}/")
    last = Body((Slice((count - 1) * size, count * size),), 0)
    bench.require_same(bench.addresses[-1], f"/objects/{ids[-1]}", last)
    return _Round(write_and_sync=written, uploads_per_second=stored.per_second, migration=migration)
