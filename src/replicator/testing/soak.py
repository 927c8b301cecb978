"""Faults of every kind on one node after the other, under traffic, for as long as asked.

After each fault the node is started again where it died, and everything in it is held against the oracle. The
seed decides which faults strike, when and how; which request they meet is up to the scheduler.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import httpx

from replicator.testing.oracle import Oracle, read_all
from replicator.testing.power import LoopDisk, power_cuts_missing
from replicator.testing.processes import ServerProcess, node_process
from replicator.testing.soak_faults import FAULTS, Fault
from replicator.testing.soak_stage import DISK_BYTES, SETTINGS, Stage
from replicator.testing.traffic import OPERATIONS, UPKEEP, Operation

FAULTS_PER_STORE = 15
_FREE_SHARE_MIN = 0.4


class Soak:
    """One run. `tally` says what ran how often, also after a violation.

    Args:
        folder: for stores and logs; what is left in it after a violation shows what was found.
        say: told what happens, a line at a time.
        faults: what may strike.
    """

    def __init__(
        self, folder: Path, *, seed: int, say: Callable[[str], None], faults: Sequence[Fault] = FAULTS
    ) -> None:
        self.tally: Counter[str] = Counter()
        self._folder = folder
        self._seed = seed
        self._say = say
        self._number = 0
        self._disk_missing = power_cuts_missing()
        self._faults = [fault for fault in faults if self._can(fault)]

    def run(self, duration_s: float) -> None:
        """Strike until the time is over; at least once.

        Raises:
            AssertionError: something that was acknowledged is lost, or something else is there.
        """
        end = time.monotonic() + duration_s
        while True:
            self._run_store(end)
            if time.monotonic() >= end:
                return

    def _can(self, fault: Fault) -> bool:
        missing = fault.missing() or (self._disk_missing if fault.wants_disk else None)
        if missing:
            self._say(f"SKIPPED: {fault.name}: {missing}")
        return missing is None

    def _run_store(self, end: float) -> None:
        """Fill one store until it has seen enough, then forget it."""
        self.tally["stores"] += 1
        with self._store_folder() as (disk, data), closing(self._node(data)) as node:
            stage = Stage(node=node, oracle=Oracle(), tally=self.tally, data_dir=data, disk=disk)
            node.start()
            stage.operations = self._operations(node)
            for _ in range(FAULTS_PER_STORE):
                self._strike(stage)
                if time.monotonic() >= end or _free_share(data) < _FREE_SHARE_MIN:
                    break
            assert node.stop() == 0, f"the node did not end in good order\n{node.log_tail()}"

    def _operations(self, node: ServerProcess) -> Sequence[Operation]:
        if httpx.get(f"{node.url}/store/stats", trust_env=False, timeout=30).is_success:
            return (*OPERATIONS, *UPKEEP)
        self._say("SKIPPED: upkeep under traffic: this node serves nothing below /store")
        return OPERATIONS

    def _strike(self, stage: Stage) -> None:
        self._number += 1
        stage.rng = random.Random(f"{self._seed}/{self._number}")
        (fault,) = stage.rng.choices(self._faults, [fault.weight for fault in self._faults])
        self._say(f"{self._number}: {fault.name}")
        fault.strike(stage)
        self.tally[f"fault: {fault.name}"] += 1
        found = read_all(stage.node.url)
        stage.oracle.check(found)
        self.tally["objects verified"] += len(found)
        assert not stage.node.stray_output(), f"the node complained\n{stage.node.log_tail()}"

    @contextmanager
    def _store_folder(self) -> Iterator[tuple[LoopDisk | None, Path]]:
        place = self._folder / f"store{self.tally['stores']}"
        disk = None if self._disk_missing else LoopDisk(place, size_bytes=DISK_BYTES)
        with disk or nullcontext():
            yield disk, (disk.path if disk else place) / "data"
        shutil.rmtree(place)

    def _node(self, data: Path) -> ServerProcess:
        return node_process(
            "node1",
            self._folder,
            settings=SETTINGS,
            arguments=["--data-dir", str(data)],
            log_name=f"store{self.tally['stores']}",
        )


def _free_share(folder: Path) -> float:
    usage = shutil.disk_usage(folder)
    return usage.free / usage.total


def report(name: str, tally: Mapping[str, int], *, seed: int, seconds: float, violation: str | None) -> str:
    """A run of the soak called `name` as one line of JSON."""
    return json.dumps(
        {
            "soak": name,
            "seed": seed,
            "seconds": round(seconds, 1),
            "violation": violation,
            "tally": dict(sorted(tally.items())),
        }
    )
