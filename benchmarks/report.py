"""The table for people and the file for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure
from benchmarks.options import Options

_MET = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}


def print_report(console: Console, figures: Sequence[Figure], notices: Sequence[str]) -> None:
    """The figures in one table, and what the reader must know about them."""
    table = Table(title="each figure beside the limit of the same run", title_justify="left")
    for heading, right in _COLUMNS.items():
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading != "note")
    for figure in figures:
        table.add_row(*_row(figure))
    console.print(table)
    for notice in notices:
        console.print(f"note: {notice}", markup=False)


def write_report(path: Path, options: Options, figures: Sequence[Figure], notices: Sequence[str]) -> None:
    """All rounds of all figures as JSON, with what the machine is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "release": version("replicator"),
        "machine": machine(),
        "rounds": options.rounds,
        "object_bytes": options.object_bytes,
        "goals_apply": options.full_size,
        "notices": list(notices),
        "figures": [figure.as_json() for figure in figures],
    }
    path.write_text(json.dumps(report, indent=2) + "\n")


_COLUMNS = {
    "figure": False,
    "median": True,
    "unit": False,
    "lowest - highest": True,
    "limit": True,
    "which is": False,
    "of limit": True,
    "goal": True,
    "": False,
    "note": False,
}


def _row(figure: Figure) -> list[str]:
    limit, share = figure.limit, figure.share_of_limit
    sign = ">=" if figure.better == "higher" else "<="
    return [
        figure.name,
        _number(figure.value),
        figure.unit,
        f"{_number(min(figure.rounds))} - {_number(max(figure.rounds))}",
        _number(limit.value) if limit else "",
        limit.name if limit else "",
        f"{share:.2f}" if share is not None else "",
        f"{sign} {_number(figure.goal)}" if figure.goal is not None else "",
        _MET[figure.goal_met],
        figure.note,
    ]


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 1 else f"{value:.2f}"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
