"""How long requests take, one after the other on one connection: what a single client feels."""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.load import Request
from benchmarks.places import Address
from replicator.kernel.errors import BrokenPeer

_DEADLINE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds that half of the requests, and 99 of 100, took at most."""

    p50: float
    p99: float


def latency_of(address: Address, requests: Iterable[Request]) -> Latency:
    """Send `requests`; raises `BrokenPeer` at the first answer that is not a success."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=_DEADLINE_SECONDS)
    try:
        cuts = statistics.quantiles([_seconds(connection, request) for request in requests], n=100)
    finally:
        connection.close()
    return Latency(p50=cuts[49], p99=cuts[98])


def _seconds(connection: http.client.HTTPConnection, request: Request) -> float:
    started = time.perf_counter()
    connection.request(request.method, request.path, body=request.body)
    answer = connection.getresponse()
    answer.read()
    seconds = time.perf_counter() - started
    if not 200 <= answer.status < 300:
        raise BrokenPeer(f"an unexpected answer to {request.method} {request.path}: {answer.status}")
    return seconds
