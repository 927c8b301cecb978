"""Combines what a test run measured, and fails unless the code below is covered in full, branches included.

Run it after `coverage run -m pytest tests/unit`. What it holds to 100 % is code that decides what is stored, sent and
scheduled, and needs neither a disk nor a network to be tested: its unit tests alone have to reach all of it. Other
tests run without being measured, which would nearly double the processor time that they take.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from coverage import Coverage
from coverage.exceptions import NoDataError

SHOWN_MAX = 12
ROOT = Path(__file__).resolve().parent.parent
COVERED_IN_FULL = (
    "src/replicator/kernel",
    "src/replicator/control_plane/domain",
    "src/replicator/data_plane/storage/accounts.py",
    "src/replicator/data_plane/storage/entries.py",
    "src/replicator/data_plane/storage/record.py",
)


def gated_files(path: str) -> list[str]:
    """The Python files at or below `path`, relative to the repository."""
    place = ROOT / path
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    return [file.relative_to(ROOT).as_posix() for file in files]


def measured() -> dict[str, Any]:
    """The report of coverage.py as JSON: `files` by path."""
    coverage = Coverage(data_file=str(ROOT / ".coverage"), config_file=str(ROOT / "pyproject.toml"))
    coverage.load()
    coverage.combine([str(ROOT)])
    coverage.save()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        coverage.json_report(outfile=str(report))
        found: dict[str, Any] = json.loads(report.read_bytes())
    found["files"] = {
        Path(path).resolve().relative_to(ROOT).as_posix(): file for path, file in found["files"].items()
    }
    return found


def few(items: Iterable[str]) -> str:
    """The first items, and how many more there are."""
    known = list(items)
    rest = len(known) - SHOWN_MAX
    return ", ".join(known[:SHOWN_MAX]) + (f" and {rest} more" if rest > 0 else "")


def faults_of(path: str, file: dict[str, Any] | None) -> list[str]:
    """What keeps one file from full coverage, in words."""
    if file is None:
        return ["it was not measured"]
    faults = []
    if file["missing_lines"]:
        faults.append(f"lines never run: {few(map(str, file['missing_lines']))}")
    if file["missing_branches"]:
        jumps = (f"{start}->{'end' if end < 0 else end}" for start, end in file["missing_branches"])
        faults.append(f"branches never taken: {few(jumps)}")
    if "pragma: no" in (ROOT / path).read_text(encoding="utf-8").lower():
        faults.append("a pragma leaves code out of the measurement")
    return faults


def judge(path: str, files: dict[str, Any]) -> bool:
    """Print a row for `path`, and below it what is wrong; whether nothing is."""
    names = gated_files(path)
    faults = {name: faults_of(name, files.get(name)) for name in names}
    summaries = [files[name]["summary"] for name in names if name in files]
    lines = sum(summary["num_statements"] for summary in summaries)
    branches = sum(summary["num_branches"] for summary in summaries)
    good = lines > 0 and not any(faults.values())
    print(f"{'ok  ' if good else 'FAIL'}  {path:<45}{lines:>6} lines {branches:>5} branches")
    if not lines:
        print("        there is no code here: the list in this script is wrong")
    for name, wrong in faults.items():
        for fault in wrong:
            print(f"        {name}: {fault}")
    return good


def main() -> int:
    """Exit status: 0 covered in full, 1 not, 2 nothing was measured."""
    try:
        report = measured()
    except NoDataError:
        print("nothing was measured; run `coverage run -m pytest tests/unit` first", file=sys.stderr)
        return 2
    verdicts = [judge(path, report["files"]) for path in COVERED_IN_FULL]
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
