"""One large object from node to node: whole, unchanged, and after an edit."""

from __future__ import annotations

import os
from dataclasses import dataclass

from benchmarks.figures import Figure, Limit
from benchmarks.limits import StreamSeconds, measure_stream_limits
from benchmarks.migrations import Migration, Migrator
from benchmarks.payload import Body
from benchmarks.scenarios.bench import Bench
from benchmarks.scenarios.wire import megabytes_figure, overhead_figure

_WHOLE_SECONDS_GOAL = 1.5
_UNCHANGED_SECONDS_GOAL = 0.010
_V2A_GOALS = 0.6, 36.0
_V2B_GOALS = 1.2, 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edit:
    body: Body
    migration: Migration


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    limits: StreamSeconds
    round_trip: float
    whole: Migration
    unchanged: Migration
    overwritten: _Edit
    inserted: _Edit


def measure(bench: Bench) -> list[Figure]:
    """Seconds, and megabytes sent, of migrations through the control plane."""
    with Migrator(bench.cluster) as migrator:
        rounds = [_measure_round(bench, migrator, number) for number in range(1, bench.options.rounds + 1)]
    return [
        *_whole_figures(bench, rounds),
        *_unchanged_figures(bench, rounds),
        *_edit_figures(bench, "v2a", [each.overwritten for each in rounds], _V2A_GOALS),
        *_edit_figures(bench, "v2b", [each.inserted for each in rounds], _V2B_GOALS),
    ]


def _whole_figures(bench: Bench, rounds: list[_Round]) -> list[Figure]:
    limits = (
        Limit(name="write + fdatasync", rounds=tuple(each.limits.write_and_sync for each in rounds)),
        Limit(name="SHA-256, one core", rounds=tuple(each.limits.sha256 for each in rounds)),
        Limit(name="raw sockets", rounds=tuple(each.limits.sockets for each in rounds)),
    )
    whole = [each.whole for each in rounds]
    goal = bench.options.goal(_WHOLE_SECONDS_GOAL)
    return [
        _seconds("migrate, wall", [each.wall_seconds for each in whole], limits=limits, goal=goal),
        _seconds("migrate, job's own time", [each.job_seconds for each in whole], limits=limits),
        overhead_figure("migrate", whole, bench.payload.original().size, goal=bench.options.full_size),
    ]


def _unchanged_figures(bench: Bench, rounds: list[_Round]) -> list[Figure]:
    unchanged = [each.unchanged for each in rounds]
    sent = max(each.transfer.bytes_transferred for each in unchanged)
    return [
        _seconds(
            "migrate, unchanged",
            [each.wall_seconds for each in unchanged],
            limits=(Limit(name="one request", rounds=tuple(each.round_trip for each in rounds)),),
            note=f"{sent} chunk bytes sent",
        ),
        _seconds(
            "migrate, unchanged, job's own time",
            [each.job_seconds for each in unchanged],
            goal=bench.options.goal(_UNCHANGED_SECONDS_GOAL),
        ),
    ]


def _edit_figures(bench: Bench, name: str, edits: list[_Edit], goals: tuple[float, float]) -> list[Figure]:
    changed = edits[0].body.bytes_changed / 1e6
    migrations = [each.migration for each in edits]
    seconds, megabytes = (bench.options.goal(each) for each in goals)
    return [
        _seconds(f"{name}, wall", [each.wall_seconds for each in migrations], goal=seconds),
        megabytes_figure(name, migrations, goal=megabytes, limit=changed),
        Figure(
            name=f"{name}, new chunks",
            unit="MB",
            better="lower",
            rounds=tuple(each.transfer.bytes_transferred / 1e6 for each in migrations),
            note="of which delta and compression kept off the wire what is not on it",
        ),
    ]


def _seconds(
    name: str,
    rounds: list[float],
    *,
    limits: tuple[Limit, ...] = (),
    goal: float | None = None,
    note: str = "",
) -> Figure:
    return Figure(
        name=name, unit="s", better="lower", rounds=tuple(rounds), limits=limits, goal=goal, note=note
    )


def _measure_round(bench: Bench, migrator: Migrator, number: int) -> _Round:
    bench.say(f"migration, round {number}")
    payload = bench.payload
    payload.fill(seed=300 + number)
    limits = measure_stream_limits(payload, bench.streamer, bench.folder)
    first = f"edit-a-{number}"
    whole = _store_and_migrate(bench, migrator, first, payload.original())
    unchanged = migrator.migrate(first)
    overwritten = _store_and_migrate(bench, migrator, first, payload.overwritten())
    second = f"edit-b-{number}"
    _store_and_migrate(bench, migrator, second, payload.original())
    inserted = _store_and_migrate(bench, migrator, second, payload.inserted())
    return _Round(
        limits=limits,
        round_trip=migrator.round_trip_seconds(),
        whole=whole,
        unchanged=unchanged,
        overwritten=_Edit(body=payload.overwritten(), migration=overwritten),
        inserted=_Edit(body=payload.inserted(), migration=inserted),
    )


def _store_and_migrate(bench: Bench, migrator: Migrator, object_id: str, body: Body) -> Migration:
    source, destination = bench.addresses
    bench.streamer.put(source, f"/objects/{object_id}", body)
    os.sync()
    migration = migrator.migrate(object_id)
    bench.require_same(destination, f"/objects/{object_id}", body)
    return migration
