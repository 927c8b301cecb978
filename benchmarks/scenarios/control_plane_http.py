"""A control plane as a process: jobs created over HTTP, and a thousand nodes that poll it."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Sequence

import uvloop

from benchmarks.cluster import Server, running_control_plane
from benchmarks.control_plane_stage import databases
from benchmarks.figures import Figure
from benchmarks.load import Request, run_load
from benchmarks.scenarios.bench import Bench
from benchmarks.simulated_nodes import SimulatedNode, Talk
from replicator.kernel.errors import Corrupt

_JOBS_PER_S_GOAL = 1_500.0
_P99_MS_GOAL = 100.0
_CONNECTIONS = 32
_WAIT_S = 5.0
_SECONDS = 20.0
_JOBS_A_SECOND = 20
_OPENING_AT_ONCE = 32
_TERMS = ("--poll-seconds", "10", "--session-lease-seconds", "60")
"""So that no session is lost on a machine that is too slow: how late answers are is the figure."""


def measure(bench: Bench) -> list[Figure]:
    """Jobs created a second, and how late the polls of many nodes are answered."""
    figures = []
    folder = bench.folder / "control-plane-http"
    with databases(folder) as kinds:
        for kind, new in kinds.items():
            options = ("--database-url", new(), "--log-level", "warning", *_TERMS)
            with running_control_plane("alone", folder / kind, *options) as server:
                figures.append(_jobs(bench, kind, server))
                figures.extend(uvloop.run(_sessions(bench, kind, server)))
    return figures


def _jobs(bench: Bench, kind: str, server: Server) -> Figure:
    for name in ("from", "to"):
        node = json.dumps({"name": name, "base_url": "http://127.0.0.1:9"}).encode()
        run_load(server.address, [_request("/nodes/register", node)], connections=1)
    rounds = []
    for number in range(1, bench.options.rounds + 1):
        bench.say(f"creating jobs on {kind}, round {number}")
        bodies = (
            json.dumps({"src_node": "from", "dst_node": "to", "object_id": f"{number}/{index}"}).encode()
            for index in range(bench.options.jobs_count)
        )
        load = run_load(
            server.address, (_request("/jobs/migrate", body) for body in bodies), connections=_CONNECTIONS
        )
        rounds.append(load.per_second)
    return Figure(
        name=f"jobs created over HTTP, {kind}",
        unit="/s",
        better="higher",
        rounds=tuple(rounds),
        goal=bench.options.goal(_JOBS_PER_S_GOAL) if kind == "SQLite" else None,
        note=f"{_CONNECTIONS} connections",
    )


def _request(path: str, body: bytes) -> Request:
    return Request("POST", path, body, content_type="application/json")


async def _sessions(bench: Bench, kind: str, server: Server) -> list[Figure]:
    count = bench.options.sessions_count
    bench.say(f"{count:,} nodes poll a control plane on {kind}")
    nodes = [SimulatedNode(server.address, f"node-{number:04}") for number in range(count)]
    try:
        late, woken = await _poll_for_a_while(server, nodes)
    finally:
        for node in nodes:
            node.close()
    return [
        _late_figure(bench, f"{count:,} sessions, {kind}, an empty poll is late by", late),
        _late_figure(bench, f"{count:,} sessions, {kind}, from asking for a job to its node", woken),
    ]


def _late_figure(bench: Bench, name: str, seconds: Sequence[float]) -> Figure:
    if len(seconds) < 2:
        raise Corrupt(f"{name}: nothing was measured")
    p99 = statistics.quantiles(seconds, n=100, method="inclusive")[98]
    median = statistics.median(seconds)
    return Figure(
        name=f"{name}, p99",
        unit="ms",
        better="lower",
        rounds=(p99 * 1e3,),
        goal=bench.options.goal(_P99_MS_GOAL),
        note=f"{len(seconds):,} polls, median {median * 1e3:.1f} ms",
    )


async def _poll_for_a_while(
    server: Server, nodes: Sequence[SimulatedNode]
) -> tuple[list[float], list[float]]:
    """Seconds by which polls without news were late, and from each job's request to the poll that brought its task."""
    late: list[float] = []
    woken: list[float] = []
    asked: dict[str, float] = {}
    opening = asyncio.Semaphore(_OPENING_AT_ONCE)
    left = asyncio.Barrier(len(nodes) + 1)
    measured: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def run(node: SimulatedNode) -> None:
        async with opening:
            await node.open()
        entering = asyncio.create_task(left.wait())
        # Nodes do not begin together: each has come up at some moment of its own.
        wait_s = random.uniform(0, _WAIT_S)
        while not measured.done() or time.perf_counter() < measured.result():
            counts = measured.done()
            given, seconds = await node.poll(wait_seconds=wait_s)
            if given:
                woken.append(time.perf_counter() - asked.pop(node.name))
                await node.poll(wait_seconds=0, capacity=0)
            elif counts:
                late.append(max(0.0, seconds - wait_s))
            wait_s = _WAIT_S
        await entering

    async def ask() -> None:
        await left.wait()
        end_s = time.perf_counter() + _SECONDS
        measured.set_result(end_s)
        talk = Talk(server.address)
        while time.perf_counter() < end_s - _WAIT_S:
            await asyncio.sleep(1 / _JOBS_A_SECOND)
            name = random.choice(nodes).name
            if name not in asked:
                asked[name] = time.perf_counter()
                told = {"src_node": "from", "dst_node": name, "object_id": "measured"}
                await talk.post("/jobs/migrate", told)
        talk.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(ask())
        for node in nodes:
            group.create_task(run(node))
    return late, woken
