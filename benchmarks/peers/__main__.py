"""`make bench-peers`: the same data moved by others and by us, in the same run, counted the same way."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console

from benchmarks.limits import warm_memory
from benchmarks.peers import rclone, replicator, rsync, seaweedfs
from benchmarks.peers.cases import Sizes, make_cases
from benchmarks.peers.measure import Measurement, require_counted
from benchmarks.peers.system import Contender
from benchmarks.peers.table import print_tables, write_json
from benchmarks.places import Places, linked_places
from replicator.kernel.errors import ReplicatorError
from replicator.testing.netns import missing_for_networks

_OURS = "Replicator"
_FULL = Sizes(object_bytes=1 << 30, many_count=5000, many_bytes=64 * 1024)
_QUICK = Sizes(object_bytes=64 << 20, many_count=200, many_bytes=64 * 1024)
_WARM_BYTES = {True: 1 << 30, False: 8 << 30}
_WIDTH_WHEN_PIPED = 170


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One run; `only` are words of which the name of a system has to contain one."""

    rounds: int
    quick: bool
    only: tuple[str, ...]
    binaries: Path
    folder: Path | None
    output: Path


def main() -> int:
    """Exit status: 0 when all that is installed here was measured; 1 when something went wrong."""
    options = _read_options()
    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _measure(options, console)
    except (ReplicatorError, httpx.HTTPError, subprocess.TimeoutExpired) as error:
        console.print(f"bench-peers: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("bench-peers: interrupted; nothing was written")
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the shape of a handler
    raise KeyboardInterrupt


def _measure(options: Options, console: Console) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="replicator-peers-", dir=options.folder) as name,
        linked_places() as places,
    ):
        require_counted(places, missing_for_networks())
        folder = Path(name)
        contenders = _contenders(options, places)
        notes = [f"skipped: {each.name}: {each.missing}" for each in contenders if each.missing]
        present = [each for each in contenders if each.missing is None]
        cases, made_of = make_cases(folder, _QUICK if options.quick else _FULL, console.print)
        notes.append(f"release: {made_of}")
        notes += [f"{each.name} does not sync what it has received" for each in present if not each.durable]
        console.print("touching memory")
        warm_memory(_WARM_BYTES[options.quick])
        measurement = Measurement(places, cases, folder, console.print)
        for number in range(1, options.rounds + 1):
            for contender in present:
                measurement.measure(contender, number)
    write_json(options.output, cases, measurement.outcomes, notes=notes, rounds=options.rounds)
    wide = Console(width=None if sys.stdout.isatty() else _WIDTH_WHEN_PIPED)
    print_tables(wide, cases, measurement.outcomes, ours=_OURS)
    for note in notes:
        wide.print(f"note: {note}", markup=False)
    return 0


def _contenders(options: Options, places: Places) -> list[Contender]:
    known = [
        replicator.contender(places),
        rsync.contender(places, compress=False),
        rsync.contender(places, compress=True),
        seaweedfs.contender(places, options.binaries),
        rclone.contender(places, options.binaries),
    ]
    wanted = [word.lower() for word in options.only]
    return [each for each in known if not wanted or any(word in each.name.lower() for word in wanted)]


def _read_options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="rounds to take medians of (3; with --quick 1)"
    )
    parser.add_argument("--quick", action="store_true", help="64 MiB and 200 small files")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="systems so called")
    parser.add_argument(
        "--binaries", type=Path, default=Path(".venv-peers/bin"), metavar="DIR", help="of weed and rclone"
    )
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="where to put the data, on the disk to be measured"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=Path(__file__).parents[1] / "results" / "peers.json"
    )
    parsed = parser.parse_args()
    return Options(
        rounds=max(1, parsed.rounds or (1 if parsed.quick else 3)),
        quick=parsed.quick,
        only=tuple(parsed.only),
        binaries=parsed.binaries.absolute(),
        folder=parsed.dir,
        output=parsed.json,
    )


if __name__ == "__main__":
    sys.exit(main())
