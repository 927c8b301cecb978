"""One large object from node to node: whole, unchanged, and after an edit."""

from __future__ import annotations

import os
from dataclasses import dataclass

from benchmarks.figures import Figure, Limit
from benchmarks.limits import StreamSeconds, measure_stream_limits
from benchmarks.migrations import Migration, Migrator
from benchmarks.payload import Body
from benchmarks.scenarios.bench import Bench


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
    migrator = Migrator(bench.cluster)
    rounds = [_measure_round(bench, migrator, number) for number in range(1, bench.options.rounds + 1)]
    goal = bench.options.goal
    return [
        *_whole_figures(rounds, goal(1.7)),
        Figure(
            name="migrate, unchanged",
            unit="s",
            better="lower",
            rounds=tuple(each.unchanged.wall_seconds for each in rounds),
            limits=(Limit(name="one request", rounds=tuple(each.round_trip for each in rounds)),),
            note=f"{max(each.unchanged.transfer.bytes_transferred for each in rounds)} bytes sent",
        ),
        Figure(
            name="migrate, unchanged, job's own time",
            unit="s",
            better="lower",
            rounds=tuple(each.unchanged.job_seconds for each in rounds),
        ),
        *_edit_figures("v2a", [each.overwritten for each in rounds], goal(45.0)),
        *_edit_figures("v2b", [each.inserted for each in rounds], goal(110.0)),
    ]


def _whole_figures(rounds: list[_Round], goal: float | None) -> list[Figure]:
    limits = (
        Limit(name="write + fdatasync", rounds=tuple(each.limits.write_and_sync for each in rounds)),
        Limit(name="SHA-256, one core", rounds=tuple(each.limits.sha256 for each in rounds)),
        Limit(name="raw sockets", rounds=tuple(each.limits.sockets for each in rounds)),
    )
    wall = tuple(each.whole.wall_seconds for each in rounds)
    job = tuple(each.whole.job_seconds for each in rounds)
    return [
        Figure(name="migrate, wall", unit="s", better="lower", rounds=wall, limits=limits, goal=goal),
        Figure(
            name="migrate, job's own time", unit="s", better="lower", rounds=job, limits=limits, goal=goal
        ),
    ]


def _edit_figures(name: str, edits: list[_Edit], goal: float | None) -> list[Figure]:
    changed = Limit(name="bytes changed", rounds=tuple(each.body.bytes_changed / 1e6 for each in edits))
    transfers = [each.migration.transfer for each in edits]
    return [
        Figure(
            name=f"{name}, chunk bytes sent",
            unit="MB",
            better="lower",
            rounds=tuple(each.bytes_transferred / 1e6 for each in transfers),
            limits=(changed,),
            goal=goal,
        ),
        Figure(
            name=f"{name}, bytes on the wire",
            unit="MB",
            better="lower",
            rounds=tuple(each.bytes_wire / 1e6 for each in transfers),
            limits=(changed,),
            goal=goal,
        ),
        Figure(
            name=f"{name}, wall",
            unit="s",
            better="lower",
            rounds=tuple(each.migration.wall_seconds for each in edits),
        ),
    ]


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
    source, destination = bench.ports
    bench.streamer.put(source, f"/objects/{object_id}", body)
    os.sync()
    migration = migrator.migrate(object_id)
    bench.require_same(destination, f"/objects/{object_id}", body)
    return migration
