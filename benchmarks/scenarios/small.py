"""Small objects in and out of a node, on many connections."""

from __future__ import annotations

import os
from dataclasses import dataclass

from benchmarks.canned import canned_server
from benchmarks.figures import Figure, Limit
from benchmarks.limits import write_groups_and_sync
from benchmarks.load import Request, run_load
from benchmarks.scenarios.bench import Bench
from benchmarks.wrk import SmallLoad

_READ_PREFIX = "read"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    canned_puts: float
    canned_gets: float
    synced_writes: float
    puts: float
    gets: float


def measure(bench: Bench) -> list[Figure]:
    """Durable PUTs and verified GETs a second."""
    options = bench.options
    load = SmallLoad(
        connections=options.small_connections, seconds=options.small_seconds, body_bytes=options.small_bytes
    )
    bench.payload.fill(seed=2)
    run_load(bench.addresses[0], _objects_to_read(bench), connections=options.small_connections)
    rounds = [_measure_round(bench, load, number) for number in range(1, options.rounds + 1)]
    name = f"{options.small_bytes // 1024} KiB"
    note = f"client: {load.client}, {options.small_connections} connections"
    return [
        Figure(
            name=f"PUT {name}",
            unit="/s",
            better="higher",
            rounds=tuple(each.puts for each in rounds),
            limits=(
                _limit("canned answers, same client", [each.canned_puts for each in rounds]),
                _limit("write + fdatasync of groups", [each.synced_writes for each in rounds]),
            ),
            goal=options.goal(8000),
            note=note,
        ),
        Figure(
            name=f"GET {name}",
            unit="/s",
            better="higher",
            rounds=tuple(each.gets for each in rounds),
            limits=(_limit("canned answers, same client", [each.canned_gets for each in rounds]),),
            goal=options.goal(12_000),
            note=note,
        ),
    ]


def _limit(name: str, rounds: list[float]) -> Limit:
    return Limit(name=name, rounds=tuple(rounds))


def _objects_to_read(bench: Bench) -> list[Request]:
    size = bench.options.small_bytes
    return [
        Request(
            "PUT",
            f"/objects/{_READ_PREFIX}/{number}",
            bench.payload.view[number * size : (number + 1) * size],
        )
        for number in range(1, bench.options.small_count + 1)
    ]


def _measure_round(bench: Bench, load: SmallLoad, number: int) -> _Round:
    bench.say(f"small objects, round {number}")
    options, address = bench.options, bench.addresses[0]
    size, count = options.small_bytes, options.small_count
    with canned_server(request_body_bytes=size, answer_body_bytes=0) as canned:
        canned_puts = load.puts_per_second(canned, "canned")
    with canned_server(request_body_bytes=0, answer_body_bytes=size) as canned:
        canned_gets = load.gets_per_second(canned, "canned", count)
    synced_writes = write_groups_and_sync(
        bench.payload, bench.folder, group=options.small_connections, size=size, seconds=1.0
    )
    os.sync()
    puts = load.puts_per_second(address, f"small-{number}")
    gets = load.gets_per_second(address, _READ_PREFIX, count)
    return _Round(
        canned_puts=canned_puts, canned_gets=canned_gets, synced_writes=synced_writes, puts=puts, gets=gets
    )
