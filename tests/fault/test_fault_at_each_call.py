"""A fault at the Nth call with which a store changes its files, whatever it is doing: nothing is lost.

Here a call of each script is chosen by the seed; `make crash` takes every one.
"""

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from replicator.kernel.errors import ReplicatorError
from replicator.testing.crash_calls import Mode
from replicator.testing.crash_points import CrashPoints
from replicator.testing.crash_scripts import SCRIPTS, Script
from replicator.testing.power import LoopDisk, power_cuts_missing
from replicator.testing.tracing import require_strace

STRIDE = "REPLICATOR_TEST_STRIDE"
CHOSEN = 1
DISK_BYTES = 192 * 1024 * 1024
TRACED_CALLS = "pwritev,pwritev2,pwrite64,write,fdatasync,fsync,rename,renameat2,ftruncate,unlink,unlinkat"

T = TypeVar("T")

each_script = pytest.mark.parametrize("script", SCRIPTS, ids=[script.name for script in SCRIPTS])


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    if missing := power_cuts_missing():
        pytest.skip(missing)
    with LoopDisk(tmp_path / "disk", size_bytes=DISK_BYTES) as disk:
        yield disk


def chosen(calls: Sequence[T], rng: random.Random, rounds: int) -> Sequence[T]:
    """Which of the calls to strike: some, or every one that the stride meets."""
    stride = int(os.environ.get(STRIDE) or 0)
    if stride:
        return calls[rng.randrange(stride) :: stride]
    return rng.sample(calls, min(CHOSEN * rounds, len(calls)))


def strike(points: CrashPoints, mode: Mode, seed: int, rounds: int) -> None:
    for number in chosen(range(1, points.calls() + 1), random.Random(seed), rounds):
        print(f"{mode} at call {number}")
        # A run may end before the last of them: how many there are depends on which requests share a group.
        points.run(mode, number)


@each_script
@pytest.mark.parametrize("mode", ["kill", "tear"])
def test_killed(tmp_path: Path, script: Script, mode: Mode, seed: int, rounds: int) -> None:
    strike(CrashPoints(tmp_path / "points", script), mode, seed, rounds)


@each_script
@pytest.mark.parametrize("mode", ["EIO", "ENOSPC", "full"])
def test_the_disk_fails(tmp_path: Path, script: Script, mode: Mode, seed: int, rounds: int) -> None:
    strike(CrashPoints(tmp_path / "points", script), mode, seed, rounds)


@pytest.mark.root
@each_script
def test_power_is_cut(tmp_path: Path, disk: LoopDisk, script: Script, seed: int, rounds: int) -> None:
    strike(CrashPoints(tmp_path / "points", script, disk=disk), "power", seed, rounds)


@pytest.mark.root
def test_a_store_whose_syncs_do_nothing_is_caught(tmp_path: Path, disk: LoopDisk) -> None:
    """The check itself: were a sync missing, `test_power_is_cut` would fail."""
    points = CrashPoints(tmp_path / "points", SCRIPTS[1], disk=disk)
    with pytest.raises((AssertionError, ReplicatorError)):
        points.run("power, never synced", points.calls())


@each_script
@pytest.mark.parametrize("what", ["signal=KILL", "error=EIO", "error=ENOSPC"])
def test_at_any_system_call(tmp_path: Path, script: Script, what: str, seed: int, rounds: int) -> None:
    """The same below `os`, where RocksDB makes its calls; `strace` counts them by thread."""
    require_strace()
    points = CrashPoints(tmp_path / "points", script)
    for call, number in chosen(points.traced_calls(TRACED_CALLS), random.Random(seed), rounds):
        print(f"{what} at {call}, number {number}")
        points.run_traced(f"{call}:{what}:when={number}")


def test_faults_strike(tmp_path: Path) -> None:
    """The faults themselves: a first call there always is."""
    require_strace()
    points = CrashPoints(tmp_path / "points", SCRIPTS[1])
    assert points.run("kill", 1).struck
    assert points.run("EIO", 1).refusals
    assert points.run_traced("fdatasync:signal=KILL:when=1").struck
    assert points.run_traced("fdatasync:error=EIO:when=1").refusals
