"""What thousands of idle connections cost a client that has something to do."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.figures import Figure, Limit
from benchmarks.latency import Latency, latency_of
from benchmarks.load import Request
from benchmarks.scenarios.bench import Bench
from replicator.kernel.errors import Unavailable
from replicator.testing.idle_connections import connections_possible, idle_connections


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    alone: Latency
    among_idle: Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    put: _Pair
    get: _Pair


def measure(bench: Bench) -> list[Figure]:
    """Milliseconds of 4 KiB requests while idle connections are open, beside those while there are none."""
    idle = min(bench.options.idle_connections, connections_possible())
    bench.payload.fill(seed=500)
    rounds = [_measure_round(bench, number, idle) for number in range(1, bench.options.rounds + 1)]
    size = f"{bench.options.small_bytes // 1024} KiB"
    return [
        *_figures(f"PUT {size}, {idle} idle", [each.put for each in rounds]),
        *_figures(f"GET {size}, {idle} idle", [each.get for each in rounds]),
    ]


def _figures(name: str, pairs: list[_Pair]) -> list[Figure]:
    return [
        _figure(f"{name}, p50", [each.among_idle.p50 for each in pairs], [each.alone.p50 for each in pairs]),
        _figure(f"{name}, p99", [each.among_idle.p99 for each in pairs], [each.alone.p99 for each in pairs]),
    ]


def _figure(name: str, among_idle: list[float], alone: list[float]) -> Figure:
    return Figure(
        name=name,
        unit="ms",
        better="lower",
        rounds=tuple(each * 1e3 for each in among_idle),
        limits=(Limit(name="none idle", rounds=tuple(each * 1e3 for each in alone)),),
        note="client: Python, 1 connection",
    )


def _measure_round(bench: Bench, number: int, idle: int) -> _Round:
    bench.say(f"idle connections, round {number}")
    address, before, among = bench.addresses[0], f"idle-{number}/alone", f"idle-{number}/among"
    put_alone = latency_of(address, _puts(bench, before))
    get_alone = latency_of(address, _gets(bench, before))
    with idle_connections(address.port, idle) as held:
        put_among = latency_of(address, _puts(bench, among))
        get_among = latency_of(address, _gets(bench, among))
        if held.count_open() < idle:
            raise Unavailable(f"only {held.count_open()} of {idle} idle connections were open to the end")
    return _Round(
        put=_Pair(alone=put_alone, among_idle=put_among), get=_Pair(alone=get_alone, among_idle=get_among)
    )


def _puts(bench: Bench, prefix: str) -> list[Request]:
    size = bench.options.small_bytes
    return [
        Request("PUT", f"/objects/{prefix}/{number}", bench.payload.view[number * size : (number + 1) * size])
        for number in range(bench.options.idle_requests)
    ]


def _gets(bench: Bench, prefix: str) -> list[Request]:
    return [Request("GET", f"/objects/{prefix}/{number}") for number in range(bench.options.idle_requests)]
