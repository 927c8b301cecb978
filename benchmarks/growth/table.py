"""The readings as a table for people and a file for programs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.growth.probe import Reading
from benchmarks.growth.sizes import Size
from benchmarks.report import machine

_RATIO_GOAL = 2.0
_OPEN_SECONDS_GOAL = 2.0
_RSS_MB_GOAL = 300.0


class Row(NamedTuple):
    """One figure: its field in `Reading`, and at most one of the two goals."""

    field: str
    title: str
    unit: str
    ratio_goal: float | None = None
    goal: float | None = None


ROWS = (
    Row("put_us", "PUT of 4 KiB, 32 at once, until durable", "µs", ratio_goal=_RATIO_GOAL),
    Row("put_cpu_us", "the same in processor time", "µs", ratio_goal=_RATIO_GOAL),
    Row("put_cold_us", "PUT of 4 KiB, catalog on the disk only", "µs", ratio_goal=_RATIO_GOAL),
    Row("get_hot_us", "GET of 4 KiB", "µs", ratio_goal=_RATIO_GOAL),
    Row("get_cold_us", "GET of 4 KiB, from the disk", "µs", ratio_goal=_RATIO_GOAL),
    Row("page_us", "page of 1,000 objects", "µs", ratio_goal=_RATIO_GOAL),
    Row("page_cold_us", "page of 1,000 objects, catalog on the disk only", "µs", ratio_goal=_RATIO_GOAL),
    Row("crowded_page_us", "page where one group holds nearly all", "µs", ratio_goal=_RATIO_GOAL),
    Row("groups_page_us", "page of 1,000 groups", "µs", ratio_goal=_RATIO_GOAL),
    Row("open_cold_s", "opening, from the disk", "s", goal=_OPEN_SECONDS_GOAL),
    Row("open_again_s", "opening again", "s", goal=_OPEN_SECONDS_GOAL),
    Row("close_s", "closing after the PUTs", "s"),
    Row("rss_peak_mb", "peak RSS", "MB", goal=_RSS_MB_GOAL),
    Row("catalog_mb", "catalog on disk", "MB"),
)


def median(readings: Sequence[Reading], row: Row) -> float:
    """The median round."""
    return statistics.median(float(getattr(reading, row.field)) for reading in readings)


def print_table(console: Console, results: Mapping[Size, Sequence[Reading]]) -> None:
    """Medians by size, the largest beside the smallest, and the goals."""
    table = Table(title="what a store costs as it grows, medians", title_justify="left")
    for heading in ("figure", "unit", *map(str, results), "largest / smallest", "goal", ""):
        table.add_column(heading, justify="left" if heading in ("figure", "unit", "") else "right")
    for row in ROWS:
        table.add_row(*_cells(row, [median(readings, row) for readings in results.values()]))
    console.print(table)


def write_json(path: Path, results: Mapping[Size, Sequence[Reading]]) -> None:
    """Every reading of every size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "release": version("replicator"),
        "machine": machine(),
        "sizes": [
            {**size._asdict(), "rounds": [reading._asdict() for reading in readings]}
            for size, readings in results.items()
        ],
    }
    path.write_text(json.dumps(report, indent=2) + "\n")


def _cells(row: Row, values: Sequence[float]) -> list[str]:
    ratio = values[-1] / values[0]
    held, goal = (max(values), row.goal) if row.goal is not None else (ratio, row.ratio_goal)
    met = "" if goal is None else "met" if held <= goal else "missed"
    shown_goal = "" if goal is None else f"<= {goal:g}{'' if row.ratio_goal is None else ' x'}"
    return [row.title, row.unit, *map(_number, values), f"{ratio:.2f}", shown_goal, met]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
