"""What a page of a listing costs at the beginning of a bucket, and at its end."""

from __future__ import annotations

import statistics
import time

import httpx

from benchmarks.figures import Figure, Limit
from benchmarks.load import Request, run_load
from benchmarks.places import Address
from benchmarks.scenarios.bench import Bench
from replicator.kernel.errors import Corrupt

_PAGE_OBJECTS = 1000
_CONNECTIONS = 32
_BODY = b"listed"


def measure(bench: Bench) -> list[Figure]:
    """Milliseconds of a page in the last tenth of a listing, beside one in the first tenth."""
    count = bench.options.listing_count
    bench.say(f"storing {count} objects to list")
    run_load(
        bench.addresses[0],
        (Request("PUT", f"/objects/listed/{number:08}", _BODY) for number in range(count)),
        connections=_CONNECTIONS,
    )
    first: list[float] = []
    last: list[float] = []
    for number in range(1, bench.options.rounds + 1):
        bench.say(f"listing, round {number}")
        seconds = _page_seconds(bench.addresses[0], count)
        tenth = max(1, len(seconds) // 10)
        first.append(statistics.median(seconds[:tenth]) * 1e3)
        last.append(statistics.median(seconds[-tenth:]) * 1e3)
    return [
        Figure(
            name=f"listing page, last of {count}",
            unit="ms",
            better="lower",
            rounds=tuple(last),
            limits=(Limit(name="first pages", rounds=tuple(first)),),
            note=f"{_PAGE_OBJECTS} objects a page",
        )
    ]


def _page_seconds(address: Address, count: int) -> list[float]:
    """Seconds of each full page, in order."""
    seconds: list[float] = []
    found, cursor = 0, None
    with httpx.Client(base_url=address.url, timeout=60.0) as client:
        while cursor is not None or not found:
            query = {"prefix": "listed/", "limit": str(_PAGE_OBJECTS)}
            started = time.perf_counter()
            answer = client.get("/objects", params=query | ({"cursor": cursor} if cursor else {}))
            seconds.append(time.perf_counter() - started)
            page = answer.raise_for_status().json()
            found, cursor = found + len(page["objects"]), page["next_cursor"]
    if found != count:
        raise Corrupt(f"{found} objects were listed and {count} were stored")
    return seconds[: count // _PAGE_OBJECTS]
