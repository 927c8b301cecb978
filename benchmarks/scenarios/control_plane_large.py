"""One job over a million objects, and the memory of the control plane that runs it."""

from __future__ import annotations

import time

import uvloop

from benchmarks.cluster import Server, running_control_plane
from benchmarks.figures import Figure
from benchmarks.memory import peak_rss_bytes
from benchmarks.scenarios.bench import Bench
from benchmarks.simulated_nodes import Message, SimulatedNode, Talk
from replicator.kernel.errors import Corrupt

_FOUND_AT_ONCE = 1000
_SMALLER = 10
_CAPACITY = 8
_GROWTH_MB_GOAL = 64.0
_IDLE_POLLS_MAX = 600


def measure(bench: Bench) -> list[Figure]:
    """Objects a second through a job whose node reports at once, and what ten times as many add to the memory."""
    folder = bench.folder / "control-plane-large"
    options = ("--database-url", f"sqlite:///{folder}/large.sqlite", "--log-level", "warning")
    count = bench.options.large_job_objects
    with running_control_plane("alone", folder / "alone", *options) as server:
        bench.say(f"a job over {count // _SMALLER:,} objects")
        uvloop.run(_run_job(server, "small", count // _SMALLER))
        before = peak_rss_bytes(server.process.pid)
        bench.say(f"a job over {count:,} objects")
        started = time.perf_counter()
        uvloop.run(_run_job(server, "large", count))
        seconds = time.perf_counter() - started
        after = peak_rss_bytes(server.process.pid)
    figures = [
        Figure(
            name=f"a job over {count:,} objects, nodes that report at once",
            unit="/s",
            better="higher",
            rounds=(count / seconds,),
            note="SQLite, over HTTP",
        )
    ]
    if before is not None and after is not None:
        figures.append(
            Figure(
                name=f"the same, peak RSS above that of a job over {count // _SMALLER:,}",
                unit="MB",
                better="lower",
                rounds=((after - before) / 1e6,),
                goal=bench.options.goal(_GROWTH_MB_GOAL),
                note=f"{after / 1e6:.0f} MB in all",
            )
        )
    return figures


async def _run_job(server: Server, name: str, count: int) -> None:
    """Until the job has ended and every poll is silent."""

    def survey(cursor: str | None) -> Message:
        first = int(cursor or 0)
        last = min(first + _FOUND_AT_ONCE, count)
        found = [_found(number) for number in range(first, last)]
        return {"compared": last - first, "found": found, "cursor": str(last) if last < count else None}

    source = SimulatedNode(server.address, f"{name}-source")
    node = SimulatedNode(server.address, f"{name}-destination", survey=survey)
    await source.open()
    await node.open()
    talk = Talk(server.address)
    told = {"src_node": source.name, "dst_node": node.name, "prefix": "measured/"}
    job = (await talk.post("/jobs/migrate", told))["id"]
    idle = 0
    while idle < _IDLE_POLLS_MAX:
        given, _ = await node.poll(wait_seconds=0.1, capacity=_CAPACITY)
        idle = 0 if given else idle + 1
        if not given and (await talk.get(f"/jobs/{job}"))["status"] not in {"queued", "planning", "running"}:
            break
    shown = await talk.get(f"/jobs/{job}")
    if shown["status"] != "succeeded" or shown["progress"]["objects_verified"] != count:
        raise Corrupt(f"the job over {count} objects is {shown['status']}: {shown['progress']}")
    for each in (source, node):
        each.close()
    talk.close()


def _found(number: int) -> Message:
    return {
        "finding": "absent",
        "bucket": "default",
        "object_id": f"measured/{number:08}",
        "version": f"{number:032x}",
        "manifest": f"{number:064x}",
        "size": 65_536,
    }
