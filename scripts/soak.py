"""`make soak`: faults of every kind, for as long as asked, with oracles outside: half the time on one node under
traffic, and half on jobs between several.

Exit status: 0 nothing was lost, 1 something was (what was found is kept, and where is said), 130 interrupted.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from local_cluster import prepare_terminal

from replicator.testing.replication_soak import ReplicationSoak
from replicator.testing.soak import Soak, report

INTERRUPTED = 130
SOAKS: dict[str, type[Soak | ReplicationSoak]] = {"store": Soak, "replication": ReplicationSoak}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, default=60.0, metavar="SECONDS", help="default 60")
    parser.add_argument(
        "--seed", type=int, help="decides which faults strike, when and how; random by default"
    )
    parser.add_argument(
        "--dir", type=Path, help="where stores and logs are kept; a temporary folder by default"
    )
    parser.add_argument("--only", choices=SOAKS, help="one of the two, for all the time")
    options = parser.parse_args()
    prepare_terminal()
    seed = random.randrange(2**32) if options.seed is None else options.seed
    chosen = list(SOAKS) if options.only is None else [options.only]
    print(f"seed {seed}; replay with: make soak SEED={seed} DURATION={options.duration:g}")
    statuses = []
    for name in chosen:
        folder = Path(tempfile.mkdtemp(prefix=f"soak-{name}-", dir=options.dir))
        statuses.append(run(name, folder, seed=seed, duration_s=options.duration / len(chosen)))
        if statuses[-1] == INTERRUPTED:
            break
    return max(statuses)


def run(name: str, folder: Path, *, seed: int, duration_s: float) -> int:
    """One soak, then its tally; `folder` stays where something was wrong."""
    start = time.monotonic()
    soak = SOAKS[name](
        folder, seed=seed, say=lambda line: print(f"{time.monotonic() - start:8.1f} s  {line}", flush=True)
    )
    violation: str | None = "it was interrupted, or broke"
    status = 1
    try:
        soak.run(duration_s)
        status, violation = 0, None
    except AssertionError as error:
        violation = str(error)
        print(f"VIOLATION with seed {seed}; what was found is in {folder}\n{violation}", file=sys.stderr)
    except KeyboardInterrupt:
        status, violation = INTERRUPTED, None
    finally:
        if violation is None:
            shutil.rmtree(folder)
        seconds = time.monotonic() - start
        print(report(name, soak.tally, seed=seed, seconds=seconds, violation=violation))
    return status


if __name__ == "__main__":
    sys.exit(main())
