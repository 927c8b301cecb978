"""What a fault of the soak acts on: one node, its folder and its oracle."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from replicator.testing.oracle import Oracle
from replicator.testing.power import LoopDisk
from replicator.testing.processes import ServerProcess
from replicator.testing.traffic import OPERATIONS, Operation, Traffic

MEBIBYTE = 1024 * 1024
DISK_BYTES = 512 * MEBIBYTE
SETTINGS = {
    "REPLICATOR_NODE_SEGMENT_BYTES_MAX": str(8 * MEBIBYTE),
    "REPLICATOR_NODE_DISK_RESERVE_BYTES": str(16 * MEBIBYTE),
}


@dataclass(kw_only=True)
class Stage:
    """A node that runs, before and after every fault; `rng` is new for each."""

    node: ServerProcess
    oracle: Oracle
    tally: Counter[str]
    data_dir: Path
    disk: LoopDisk | None
    rng: random.Random = field(default_factory=random.Random)
    operations: Sequence[Operation] = OPERATIONS

    def traffic(self) -> Traffic:
        """Traffic on the node, counted."""
        return Traffic(
            self.node.url,
            self.oracle,
            seed=self.rng.randrange(2**32),
            tally=self.tally,
            operations=self.operations,
        )
