"""Space comes back: most of a store is deleted, and objects are put while it is compacted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.cluster import Server, running_node
from benchmarks.figures import Figure, Limit, gigabytes_per_second
from benchmarks.payload import Body, Slice
from benchmarks.scenarios.bench import Bench
from replicator.kernel.errors import Unavailable

_OBJECTS_PER_FILL = 64
_FILLS = 2
_KEPT_EVERY = 10
_DEADLINE_SECONDS = 600.0
_DISK_PER_LIVE_GOAL = 1.10
_PUT_SHARE_GOAL = 0.7
_BLOCK_BYTES = 512
_COMPACTION_METRIC = "replicator_node_compaction_bytes_total"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    usual: tuple[float, ...]
    meanwhile: tuple[float, ...]
    compaction: tuple[float, ...]
    disk_per_live: float
    reclaimed_bytes: int
    seconds_by_hand: float


def measure(bench: Bench) -> list[Figure]:
    """Disk use beside live bytes after 90 % was deleted, and the rate of PUTs during compaction."""
    segment_bytes = bench.options.object_bytes // 2
    options = ("--name", "reclaiming", "--gc-grace-s", "0", "--segment-bytes-max", str(segment_bytes))
    with running_node(bench.folder / "reclaim-node", *options) as node:
        measured = _measure(bench, node)
    usual = Limit(name="without compaction", rounds=measured.usual)
    share = Limit(name="without compaction", rounds=(1.0,))
    return [
        Figure(
            name="PUT large during compaction",
            unit="GB/s",
            better="higher",
            rounds=measured.meanwhile,
            limits=(usual,),
        ),
        Figure(
            name="compaction during these PUTs",
            unit="GB/s",
            better="higher",
            rounds=measured.compaction,
            note="read and copied",
        ),
        Figure(
            name="PUT large during compaction",
            unit="of usual",
            better="higher",
            rounds=tuple(each / usual.value for each in measured.meanwhile),
            limits=(share,),
            goal=bench.options.goal(_PUT_SHARE_GOAL),
        ),
        Figure(
            name="disk after deleting 90 %",
            unit="of live bytes",
            better="lower",
            rounds=(measured.disk_per_live,),
            goal=_DISK_PER_LIVE_GOAL,
        ),
        Figure(
            name="compaction by hand",
            unit="GB/s",
            better="higher",
            rounds=gigabytes_per_second(measured.reclaimed_bytes, [measured.seconds_by_hand]),
            note="of disk given back",
        ),
    ]


def _measure(bench: Bench, node: Server) -> _Measured:
    rounds = bench.options.rounds
    bodies = iter(_bodies(bench.options.object_bytes, 3 * rounds))
    with httpx.Client(base_url=node.url, timeout=_DEADLINE_SECONDS) as client:
        _fill(bench, node)
        bench.payload.fill(seed=500)
        bench.say("PUTs before compaction")
        usual = [_put(bench, node, next(bodies)) for _ in range(rounds)]
        bench.say("deleting 90 %")
        before = _compaction_bytes(client)
        _delete_most(client)
        _await_compaction(client, before)
        bench.say("PUTs during compaction")
        meanwhile = [_put_during_compaction(bench, node, client, next(bodies)) for _ in range(rounds)]
        bench.say("compaction by hand")
        started = time.perf_counter()
        reclaimed = _reclaim(client)
        seconds = time.perf_counter() - started
        bench.say("PUTs after compaction")
        usual += [_put(bench, node, next(bodies)) for _ in range(rounds)]
        for index in range(3 * rounds):
            client.delete(f"/objects/{_name(index)}").raise_for_status()
        _reclaim(client)
        live = client.get("/store/stats").raise_for_status().json()["live_bytes"]
        disk = _disk_bytes(bench.folder / "reclaim-node" / node.name / "segments")
    return _Measured(
        usual=tuple(usual),
        meanwhile=tuple(rate for rate, _ in meanwhile),
        compaction=tuple(rate for _, rate in meanwhile),
        disk_per_live=disk / live,
        reclaimed_bytes=reclaimed,
        seconds_by_hand=seconds,
    )


def _put_during_compaction(
    bench: Bench, node: Server, client: httpx.Client, body: Body
) -> tuple[float, float]:
    """GB/s of the PUT, and of compaction meanwhile; raises where compaction had ended before."""
    before, started = _compaction_bytes(client), time.perf_counter()
    rate = _put(bench, node, body)
    moved, seconds = _compaction_bytes(client) - before, time.perf_counter() - started
    if not _is_compacting(client):
        raise Unavailable("compaction ended before the PUTs that it was to disturb: take a larger store")
    return rate, moved / 1e9 / seconds


def _compaction_bytes(client: httpx.Client) -> float:
    metrics = client.get("/metrics").raise_for_status().text.splitlines()
    (value,) = [line.split()[1] for line in metrics if line.startswith(f"{_COMPACTION_METRIC} ")]
    return float(value)


def _reclaim(client: httpx.Client) -> int:
    """Collect and compact by hand; returns the bytes of disk that came back."""
    client.post("/store/gc", json={"grace_s": 0}).raise_for_status()
    return int(client.post("/store/compact", json={}).raise_for_status().json()["bytes_reclaimed"])


def _fill(bench: Bench, node: Server) -> None:
    for fill in range(_FILLS):
        bench.say(f"filling a store, part {fill + 1} of {_FILLS}")
        bench.payload.fill(seed=400 + fill)
        for index, body in enumerate(_bodies(bench.options.object_bytes, _OBJECTS_PER_FILL)):
            bench.streamer.put(node.address, f"/objects/filled/{fill}/{index}", body)


def _bodies(object_bytes: int, count: int) -> list[Body]:
    """The payload in so many pieces."""
    length = object_bytes // count
    return [Body((Slice(index * length, (index + 1) * length),), 0) for index in range(count)]


def _put(bench: Bench, node: Server, body: Body) -> float:
    """GB/s."""
    name = _name(body.slices[0].start // body.size)
    return body.size / 1e9 / bench.streamer.put(node.address, f"/objects/{name}", body)


def _name(index: int) -> str:
    return f"put/{index}"


def _delete_most(client: httpx.Client) -> None:
    names = [f"filled/{fill}/{index}" for fill in range(_FILLS) for index in range(_OBJECTS_PER_FILL)]
    for number, name in enumerate(names):
        if number % _KEPT_EVERY:
            client.delete(f"/objects/{name}").raise_for_status()


def _await_compaction(client: httpx.Client, before: float) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not _is_compacting(client) or _compaction_bytes(client) <= before:
        if time.monotonic() > deadline:
            raise Unavailable("the node did not begin to compact")
        time.sleep(0.05)


def _is_compacting(client: httpx.Client) -> bool:
    stats = client.get("/store/stats").raise_for_status().json()
    return bool(stats["retiring_manifests"] == 0 and stats["dead_bytes"] > 0.1 * stats["live_bytes"])


def _disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * _BLOCK_BYTES for path in folder.iterdir())
