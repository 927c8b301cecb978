"""How many changes of state of tasks a control plane makes durable, and what a claim costs behind a long queue.

Inside this process, through the units that a poll runs, without HTTP: results in, tasks out, committed and synced.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.control_plane_queue import fill_queue
from benchmarks.control_plane_stage import (
    TASKS_PER_JOB,
    Worked,
    Worker,
    connect,
    databases,
    fill,
    opened,
    poll,
    terms,
    work_through,
)
from benchmarks.figures import Figure, Limit
from benchmarks.scenarios.bench import Bench
from replicator.control_plane.db.database import SqlDatabase

_GOALS_PER_S = {("SQLite", 64): 10_000.0, ("Postgres", 1): 2_000.0, ("Postgres", 64): 20_000.0}
_RATIO_GOAL = 1.5
_WORKERS = {1: 64, 64: 8}
_LOADS = ((1, TASKS_PER_JOB), (64, TASKS_PER_JOB), (64, 1))
"""Tasks a poll, and tasks a job: a large job has many at a time, a job of one object has one."""
_QUEUE_WORKERS = 16
_POLLS = 40


def measure(bench: Bench) -> list[Figure]:
    """Transitions a second, and the time of a poll that ends one task and claims another."""
    figures = []
    with databases(bench.folder / "control-plane") as kinds:
        for kind, new in kinds.items():
            for capacity, per_job in _LOADS:
                rounds = []
                for number in range(1, bench.options.rounds + 1):
                    bench.say(
                        f"transitions on {kind}, {capacity} tasks a poll, {per_job} a job, round {number}"
                    )
                    tasks = bench.options.transitions_count // (8 if capacity == 1 else 1)
                    rounds.append(asyncio.run(_transitions(new(), tasks, capacity, per_job)))
                figures.extend(_transitions_figures(bench, kind, capacity, per_job, rounds))
            figures.extend(_claims(bench, kind, [new() for _ in bench.options.queue_sizes]))
    return figures


async def _transitions(url: str, tasks: int, capacity: int, per_job: int) -> Worked:
    with opened(url) as database:
        workers = await connect(database, [f"worker-{number:03}" for number in range(_WORKERS[capacity])])
        await fill(database, workers, tasks, tasks_per_job=per_job)
        return await work_through(database, workers, capacity=capacity)


def _transitions_figures(
    bench: Bench, kind: str, capacity: int, per_job: int, rounds: Sequence[Worked]
) -> list[Figure]:
    goal = _GOALS_PER_S.get((kind, capacity)) if per_job == TASKS_PER_JOB else None
    load = f"{kind}, {capacity} a poll, jobs of {per_job}"
    return [
        Figure(
            name=f"task transitions, {load}",
            unit="/s",
            better="higher",
            rounds=tuple(each.per_second for each in rounds),
            goal=None if goal is None else bench.options.goal(goal),
            note=f"{_WORKERS[capacity]} nodes at once, no HTTP",
        ),
        Figure(
            name=f"the same, processor time of one, {load}",
            unit="us",
            better="lower",
            rounds=tuple(each.cpu_s * 1e6 for each in rounds),
            note="of the process, the nodes' part in it; not of a database server",
        ),
    ]


def _claims(bench: Bench, kind: str, urls: Sequence[str]) -> list[Figure]:
    sizes = bench.options.queue_sizes
    with ExitStack() as stack:
        opens = [stack.enter_context(opened(url)) for url in urls]
        times = asyncio.run(_polls(bench, kind, opens))
    small, large = statistics.median(times[0]), statistics.median(times[-1])
    figures = [
        Figure(
            name=f"poll that claims one, {kind}, {size:,} ready",
            unit="ms",
            better="lower",
            rounds=tuple(each * 1e3 for each in found),
            limits=(Limit(name=f"{sizes[0]:,} ready", rounds=tuple(each * 1e3 for each in times[0])),),
        )
        for size, found in zip(sizes, times, strict=True)
    ]
    ratio = Figure(
        name=f"the same, {kind}, {sizes[-1]:,} to {sizes[0]:,}",
        unit="times",
        better="lower",
        rounds=(large / small,),
        goal=bench.options.goal(_RATIO_GOAL),
        note="medians",
    )
    return [*figures, ratio]


async def _polls(bench: Bench, kind: str, opens: Sequence[SqlDatabase]) -> list[list[float]]:
    """Of each database the median seconds in each round; they take turns, so that all meet the same noise."""
    crews: list[list[Worker]] = []
    for database, size in zip(opens, bench.options.queue_sizes, strict=True):
        bench.say(f"queueing {size:,} tasks on {kind}")
        crew = await connect(database, [f"worker-{number:03}" for number in range(_QUEUE_WORKERS)])
        await fill(database, crew, len(crew) * 64)
        await fill_queue(database, size - len(crew) * 64)
        crews.append(crew)
    found: list[list[float]] = [[] for _ in opens]
    for number in range(bench.options.rounds + 1):
        for times, database, crew in zip(found, opens, crews, strict=True):
            median = await _median_of_polls(database, crew)
            if number:  # the first is for the caches
                times.append(median)
    return found


async def _median_of_polls(database: SqlDatabase, crew: Sequence[Worker]) -> float:
    granted, seconds = terms(), []
    for number in range(_POLLS):
        started = time.perf_counter()
        await poll(database, crew[number % len(crew)], granted, capacity=1)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
