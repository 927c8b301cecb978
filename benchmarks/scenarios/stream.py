"""One large object in and out of a node."""

from __future__ import annotations

import os
from dataclasses import dataclass

from benchmarks.figures import Figure, Limit, gigabytes_per_second
from benchmarks.limits import StreamSeconds, measure_stream_limits
from benchmarks.scenarios.bench import Bench

_WARM_UP_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    limits: StreamSeconds
    unique: float
    duplicate: float
    download: float


def measure(bench: Bench) -> list[Figure]:
    """PUT of unique and of known bytes, and GET, in GB/s."""
    _warm_up(bench)
    rounds = [_measure_round(bench, number) for number in range(1, bench.options.rounds + 1)]
    size = bench.payload.original().size
    write = Limit(
        name="write + fdatasync",
        rounds=gigabytes_per_second(size, [each.limits.write_and_sync for each in rounds]),
    )
    sha256 = Limit(
        name="SHA-256, one core", rounds=gigabytes_per_second(size, [each.limits.sha256 for each in rounds])
    )
    sockets = Limit(
        name="raw sockets", rounds=gigabytes_per_second(size, [each.limits.sockets for each in rounds])
    )
    goal = bench.options.goal
    return [
        Figure(
            name="PUT large, unique",
            unit="GB/s",
            better="higher",
            rounds=gigabytes_per_second(size, [each.unique for each in rounds]),
            limits=(write, sha256, sockets),
            goal=goal(0.55),
        ),
        Figure(
            name="PUT large, duplicate",
            unit="GB/s",
            better="higher",
            rounds=gigabytes_per_second(size, [each.duplicate for each in rounds]),
            limits=(sha256, sockets),
            goal=goal(0.9),
        ),
        Figure(
            name="GET large",
            unit="GB/s",
            better="higher",
            rounds=gigabytes_per_second(size, [each.download for each in rounds]),
            limits=(sockets,),
            goal=goal(2.0),
        ),
    ]


def _warm_up(bench: Bench) -> None:
    bench.payload.fill(seed=1)
    body = bench.payload.original(min(_WARM_UP_BYTES, bench.payload.original().size))
    bench.streamer.put(bench.addresses[0], "/objects/warm-up", body)
    bench.streamer.get(bench.addresses[0], "/objects/warm-up", body.size)


def _measure_round(bench: Bench, number: int) -> _Round:
    bench.say(f"large object, round {number}")
    payload, streamer, address = bench.payload, bench.streamer, bench.addresses[0]
    payload.fill(seed=100 + number)
    body = payload.original()
    limits = measure_stream_limits(payload, streamer, bench.folder)
    os.sync()
    unique = streamer.put(address, f"/objects/unique-{number}", body)
    duplicate = streamer.put(address, f"/objects/duplicate-{number}", body)
    streamer.get(address, f"/objects/unique-{number}", body.size)
    download = streamer.get(address, f"/objects/unique-{number}", body.size)
    bench.require_same(address, f"/objects/duplicate-{number}", body)
    return _Round(limits=limits, unique=unique, duplicate=duplicate, download=download)
