"""An update of real software: the next release of a large package, as tar."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from benchmarks.figures import Figure
from benchmarks.migrations import Migration, Migrator
from benchmarks.releases import make_releases
from benchmarks.scenarios.bench import Bench
from benchmarks.scenarios.wire import counted_by
from replicator.kernel.errors import Corrupt

_SHARE_GOAL = 0.1
_DEADLINE_SECONDS = 300.0
_NAME = "package.tar"


def measure(bench: Bench) -> list[Figure]:
    """Seconds, and bytes sent as a share of the tar, where the destination holds the release before.

    Once, whatever the rounds: after that the destination holds both.
    """
    folder = bench.folder / "packages"
    folder.mkdir()
    made = make_releases(folder)
    bench.say(f"releases: {made.made_of}")
    with Migrator(bench.cluster) as migrator:
        _bring(bench, migrator, made.older)
        update = _bring(bench, migrator, made.newer)
    size = made.newer.stat().st_size
    return [
        Figure(
            name=f"next release, {size / 1e6:.0f} MB, on the wire",
            unit="of its size",
            better="lower",
            rounds=(update.wire_bytes / size,),
            goal=bench.options.goal(_SHARE_GOAL),
            note=f"{made.made_of}; {counted_by([update])}",
        ),
        Figure(
            name="next release, wall",
            unit="s",
            better="lower",
            rounds=(update.wall_seconds,),
        ),
    ]


def _bring(bench: Bench, migrator: Migrator, file: Path) -> Migration:
    source, destination = (address.url for address in bench.addresses)
    content = file.read_bytes()
    with httpx.Client(trust_env=False, timeout=_DEADLINE_SECONDS) as client:
        client.put(f"{source}/objects/{_NAME}", content=content).raise_for_status()
        os.sync()
        migration = migrator.migrate(_NAME)
        if client.get(f"{destination}/objects/{_NAME}").raise_for_status().content != content:
            raise Corrupt(f"the copy of {file.name} has other bytes than its source")
    return migration
