"""What was measured, beside what the others took for the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.peers.cases import Case
from benchmarks.peers.measure import Outcome, Outcomes
from benchmarks.report import machine


def print_tables(console: Console, cases: Sequence[Case], outcomes: Outcomes, *, ours: str) -> None:
    """Seconds and megabytes of each system, and both as multiples of ours."""
    console.print(_table("seconds (multiple of ours)", cases, outcomes, ours, _seconds))
    console.print(_table("MB over the link, both ways (multiple of ours)", cases, outcomes, ours, _megabytes))


def write_json(
    path: Path, cases: Sequence[Case], outcomes: Outcomes, *, notes: Sequence[str], rounds: int
) -> None:
    """Every round."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "rounds": rounds,
        "notes": list(notes),
        "new_bytes": {case.name: case.new_bytes for case in cases},
        "systems": {
            system: {
                case: [{"seconds": each.seconds, "link_bytes": each.link_bytes} for each in outcome.rounds]
                for case, outcome in of_system.items()
            }
            for system, of_system in outcomes.items()
        },
    }
    path.write_text(json.dumps(report, indent=2) + "\n")


def _seconds(outcome: Outcome) -> float:
    return outcome.seconds


def _megabytes(outcome: Outcome) -> float:
    return outcome.link_bytes / 1e6


def _table(
    title: str, cases: Sequence[Case], outcomes: Outcomes, ours: str, value: Callable[[Outcome], float]
) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for case in cases:
        table.add_column(case.name, justify="right", no_wrap=True)
    for system, of_system in outcomes.items():
        cells = [
            _cell(of_system.get(case.name), outcomes.get(ours, {}).get(case.name), value) for case in cases
        ]
        table.add_row(system, *cells)
    return table


def _cell(outcome: Outcome | None, our: Outcome | None, value: Callable[[Outcome], float]) -> str:
    if outcome is None:
        return ""
    measured = value(outcome)
    shown = f"{measured:,.0f}" if measured >= 1000 else f"{measured:.3g}"
    return shown if our is None or our is outcome else f"{shown} ({measured / value(our):.2g})"
