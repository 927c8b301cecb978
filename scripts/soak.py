"""`make soak`: faults of every kind on a node under traffic, for as long as asked, with an oracle outside of it.

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

from replicator.testing.soak import Soak, report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, default=60.0, metavar="SECONDS", help="default 60")
    parser.add_argument(
        "--seed", type=int, help="decides which faults strike, when and how; random by default"
    )
    parser.add_argument(
        "--dir", type=Path, help="where stores and logs are kept; a temporary folder by default"
    )
    options = parser.parse_args()
    prepare_terminal()
    seed = random.randrange(2**32) if options.seed is None else options.seed
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=options.dir))
    return run(folder, seed=seed, duration_s=options.duration)


def run(folder: Path, *, seed: int, duration_s: float) -> int:
    """Soak, then print the tally; `folder` stays where something was wrong."""
    print(f"seed {seed}; replay with: make soak SEED={seed} DURATION={duration_s:g}")
    start = time.monotonic()
    soak = Soak(folder, seed=seed, say=lambda line: print(f"{time.monotonic() - start:8.1f} s  {line}"))
    violation: str | None = "it was interrupted, or broke"
    status = 1
    try:
        soak.run(duration_s)
        status, violation = 0, None
    except AssertionError as error:
        violation = str(error)
        print(f"VIOLATION with seed {seed}; what was found is in {folder}\n{violation}", file=sys.stderr)
    except KeyboardInterrupt:
        status, violation = 130, None
    finally:
        if violation is None:
            shutil.rmtree(folder)
        print(report(soak, seed=seed, seconds=time.monotonic() - start, violation=violation))
    return status


if __name__ == "__main__":
    sys.exit(main())
