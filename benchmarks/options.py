"""What to measure, read once from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30
MIB = 1 << 20
KIB = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One run; `full_size` is the size that the goals are for."""

    rounds: int
    object_bytes: int
    many_count: int
    many_bytes: int
    small_count: int
    small_bytes: int
    small_connections: int
    small_seconds: float
    idle_connections: int
    idle_requests: int
    listing_count: int
    compare_count: int
    transitions_count: int
    queue_sizes: tuple[int, ...]
    sessions_count: int
    jobs_count: int
    large_job_objects: int
    full_size: bool
    scenarios: tuple[str, ...]
    folder: Path | None
    output: Path

    def goal(self, value: float) -> float | None:
        """`value`, where this run is of the size that goals are for."""
        return value if self.full_size else None


def read_options(scenarios: Sequence[str]) -> Options:
    """The options on the command line; an unknown one ends the process with usage."""
    parsed = _parser(scenarios).parse_args()
    quick = bool(parsed.quick)
    return Options(
        rounds=parsed.rounds or (1 if quick else 3),
        object_bytes=64 * MIB if quick else GIB,
        many_count=200 if quick else 5000,
        many_bytes=64 * KIB,
        small_count=500 if quick else 4000,
        small_bytes=4 * KIB,
        small_connections=32,
        small_seconds=1.0 if quick else 5.0,
        idle_connections=500 if quick else 10_000,
        idle_requests=200 if quick else 2000,
        listing_count=2000 if quick else 100_000,
        compare_count=20_000 if quick else 1_000_000,
        transitions_count=1024 if quick else 16_384,
        queue_sizes=(1000, 4000) if quick else (1000, 10_000, 100_000, 1_000_000),
        sessions_count=50 if quick else 1000,
        jobs_count=200 if quick else 5000,
        large_job_objects=10_000 if quick else 1_000_000,
        full_size=not quick,
        scenarios=tuple(name for name in scenarios if not parsed.only or name in parsed.only),
        folder=parsed.dir,
        output=parsed.json,
    )


def _parser(scenarios: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures a control plane and two nodes, each figure beside the machine's own limit.",
    )
    parser.add_argument(
        "--rounds", type=_positive, metavar="N", help="rounds to take medians of (3; with --quick 1)"
    )
    parser.add_argument("--quick", action="store_true", help="64 MiB and fewer requests; goals do not apply")
    parser.add_argument(
        "--only", action="append", choices=scenarios, metavar="NAME", help=f"of {', '.join(scenarios)}"
    )
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="where to put the data, on the disk to be measured"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", default=Path(__file__).parent / "results" / "latest.json"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
