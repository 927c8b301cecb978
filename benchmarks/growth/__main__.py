"""`python -m benchmarks.growth`: fill stores of growing size, measure each, print a table, leave nothing behind."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.growth.sizes import FULL, QUICK
from benchmarks.growth.stores import measure_growth
from benchmarks.growth.table import print_table, write_json
from replicator.kernel.errors import QuotaExceeded, ReplicatorError
from replicator.runtime.bootstrap import raise_open_files_limit

_RESULTS = Path(__file__).parents[1] / "results" / "growth.json"
_WIDTH_WHEN_PIPED = 190
_BYTES_PER_CHUNK = 400
"""Rows, and the tables that a compaction replaces while snapshots still hold them."""


def main() -> int:
    """Exit status: 0 when everything was measured, whatever the figures; 1 when something went wrong."""
    options = _read_options()
    console = Console(stderr=True)
    sizes = QUICK if options.quick else FULL
    raise_open_files_limit()
    try:
        with tempfile.TemporaryDirectory(prefix="replicator-growth-", dir=options.dir) as name:
            _require_room(Path(name), sizes[-1].chunks * _BYTES_PER_CHUNK)
            results = measure_growth(
                Path(name),
                sizes,
                rounds=options.rounds,
                puts=500 if options.quick else 5000,
                say=lambda text: console.print(text, markup=False),
            )
    except ReplicatorError as error:
        console.print(f"growth: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("growth: interrupted; nothing was written")
        return 130
    write_json(options.json, results)
    print_table(Console(width=None if sys.stdout.isatty() else _WIDTH_WHEN_PIPED), results)
    console.print(f"written to {options.json}", markup=False)
    return 0


def _read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description="What an operation costs as the store grows: 1 M, 10 M and 50 M chunks. Half an hour, 20 GB.",
    )
    parser.add_argument("--quick", action="store_true", help="10 k and 100 k chunks: does it run")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="to take medians of (3)")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where to put the stores")
    parser.add_argument("--json", type=Path, metavar="FILE", default=_RESULTS)
    return parser.parse_args()


def _require_room(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise QuotaExceeded(
            f"{folder} has {free / 1e9:.1f} GB free and {wanted / 1e9:.1f} are wanted; choose another disk with --dir"
        )


if __name__ == "__main__":
    sys.exit(main())
