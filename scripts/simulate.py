"""Runs seeded schedules against the control plane's core: nodes, a bad network, crashes, users who meddle.

A schedule that fails names its seed: `make simulate SCHEDULES=1 SEED=…` replays it.
"""

from __future__ import annotations

import argparse
import time

from replicator.testing.control_simulation import run_schedules

_TOLD_EVERY = 500


def main() -> None:
    """Run them all; an error ends it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first schedule; each adds one")
    arguments = parser.parse_args()
    began_s = time.monotonic()
    end = arguments.seed + arguments.schedules
    for first in range(arguments.seed, end, _TOLD_EVERY):
        seeds = range(first, min(first + _TOLD_EVERY, end))
        happened = run_schedules(seeds)
        held, retried, refused = (happened[name] for name in ("task.held", "retry", "result.refused"))
        print(
            f"seeds {seeds[0]} to {seeds[-1]}: {happened['submit']} jobs, {happened['task.leased']} attempts, "
            f"{happened['crash']} crashes, {held} tasks held, {retried} jobs retried, {refused} results refused, "
            f"{happened['job not exact']} jobs not exact in what they transferred",
            flush=True,
        )
    print(f"{arguments.schedules} schedules in {time.monotonic() - began_s:.0f} s: every number adds up")


if __name__ == "__main__":
    main()
