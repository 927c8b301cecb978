"""A process that takes the turn of a control plane's database and keeps it: `python -m … URL`.

Says `taken` once it has it. On a line at its input it goes on, and says how its unit ended.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing

from replicator.control_plane.db.database import open_database
from replicator.control_plane.ports import Unit
from replicator.runtime.clock import SystemClock
from replicator.testing.database_contract import count_up, tries


class Holder:
    """Work that keeps the turn the first time that it is run."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, unit: Unit) -> int:
        """Count up, at last."""
        self.runs += 1
        before = tries(unit)
        if self.runs == 1:
            _say(f"taken {before}")
            sys.stdin.readline()
        return count_up(unit)


async def _main(url: str) -> None:
    holder = Holder()
    with closing(open_database(url, clock=SystemClock(), on_events=lambda _: None)) as database:
        counted = await database.transact(holder)
        _say(f"counted {counted} {holder.runs}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
