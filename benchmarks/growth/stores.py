"""Stores of growing size, each a snapshot of one that grows, measured in turn so that all meet the same noise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.growth.filling import fill
from benchmarks.growth.probe import CACHE_BYTES, Reading, open_growing, put, real_names
from benchmarks.growth.sizes import Size
from replicator.data_plane.storage.rocks_catalog import RocksCatalog
from replicator.kernel.errors import Corrupt

_DEADLINE_SECONDS = 1800.0


def measure_growth(
    folder: Path, sizes: Sequence[Size], *, rounds: int, puts: int, say: Callable[[str], None]
) -> dict[Size, list[Reading]]:
    """The readings of each size, one for each round."""
    stores = _make_stores(folder, sizes, say)
    readings: dict[Size, list[Reading]] = {size: [] for size in sizes}
    for number in range(1, rounds + 1):
        for size in sizes:
            say(f"round {number}: {size}")
            readings[size].append(_probe(stores[size], number, puts))
    return readings


def _make_stores(folder: Path, sizes: Sequence[Size], say: Callable[[str], None]) -> dict[Size, Path]:
    growing = folder / "growing"
    opened = open_growing(growing)
    put(opened.store, real_names(), "real")
    opened.close()
    stores = {}
    before = Size(0, 0)
    for number, size in enumerate(sizes):
        fill(growing, before, size, say)
        stores[size] = folder / f"size-{number}"
        take_snapshot(growing, stores[size])
        before = size
    return stores


def take_snapshot(growing: Path, snapshot: Path) -> None:
    """A store like the one in `growing`, which nobody has open.

    The segments are full and never written again, so that another name for them is a copy."""
    (snapshot / "segments").mkdir(parents=True)
    catalog = RocksCatalog(str(growing / "catalog"), cache_bytes=CACHE_BYTES)
    catalog.copy_to(str(snapshot / "catalog"))
    catalog.close()
    for path in (growing / "segments").iterdir():
        os.link(path, snapshot / "segments" / path.name)


def _probe(store: Path, number: int, puts: int) -> Reading:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth.probe", str(store), str(number), str(puts)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        timeout=_DEADLINE_SECONDS,
        check=False,
    )
    if done.returncode:
        raise Corrupt(f"the store in {store} could not be measured; its process said why above")
    return Reading(**json.loads(done.stdout))
