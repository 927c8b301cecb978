"""`make chaos`: replicas of the control plane, their database, nodes and users under every kind of fault, for as long
as asked, with an oracle outside.

Exit status: 0 everything was as it was told, 1 something was not (what was found is kept, and where is said), 130
interrupted.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from local_cluster import prepare_terminal

from replicator.testing.chaos import FAULTS, Chaos
from replicator.testing.chaos_faults import Fault
from replicator.testing.chaos_stage import Plan
from replicator.testing.postgres import missing_for_postgres

INTERRUPTED = 130


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", type=float, default=60.0, metavar="SECONDS", help="default 60")
    parser.add_argument("--seed", type=int, help="decides jobs, faults and their order; random by default")
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--replicas", type=int, default=3, help="over Postgres; default 3")
    parser.add_argument("--nodes", type=int, default=10, help="simulated ones; default 10")
    parser.add_argument("--real-nodes", action="store_true", help="three nodes that are processes as well")
    parser.add_argument("--jobs", type=int, default=100, help="at a time; default 100")
    parser.add_argument("--round", type=float, default=60.0, metavar="SECONDS", help="default 60")
    parser.add_argument("--only", metavar="WORDS", help="faults with one of these words, separated by commas")
    parser.add_argument("--dir", type=Path, help="where logs are kept; a temporary folder by default")
    options = parser.parse_args()
    prepare_terminal()
    if options.database == "postgres" and (missing := missing_for_postgres()):
        print(f"SKIPPED: chaos over Postgres: {missing}; over SQLite instead")
        options.database = "sqlite"
    plan = Plan(
        database=options.database,
        replicas=options.replicas,
        nodes=options.nodes,
        real_nodes=3 if options.real_nodes else 0,
        jobs=options.jobs,
        round_s=options.round,
        seed=random.randrange(2**32) if options.seed is None else options.seed,
    )
    print(f"seed {plan.seed}; replay with: make chaos SEED={plan.seed} DURATION={options.duration:g}")
    words = options.only.split(",") if options.only else [""]
    faults = [fault for fault in FAULTS if any(word in fault.name for word in words)]
    return run(plan, faults, Path(tempfile.mkdtemp(prefix="chaos-", dir=options.dir)), options.duration)


def run(plan: Plan, faults: Sequence[Fault], folder: Path, duration_s: float) -> int:
    """One run, then its tally; `folder` stays where something was wrong."""
    began_s = time.monotonic()
    chaos = Chaos(folder, plan, say=lambda line: print(line, flush=True), faults=faults)
    violation: str | None = "it was interrupted, or broke"
    status = 1
    try:
        chaos.run(duration_s)
        status, violation = 0, None
    except KeyboardInterrupt:
        status, violation = INTERRUPTED, None
    except AssertionError as error:
        violation = str(error)
        print(f"VIOLATION with seed {plan.seed}; what was found is in {folder}\n{violation}", file=sys.stderr)
    finally:
        if violation is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            (folder / "time-line").write_text("\n".join([*chaos.time_line.lines, violation, ""]))
        told = {"seed": plan.seed, "database": plan.database, "seconds": round(time.monotonic() - began_s, 1)}
        told |= {"violation": violation, "tally": dict(sorted(chaos.tally.items()))}
        print(json.dumps({"chaos": told}))
    return status


if __name__ == "__main__":
    sys.exit(main())
