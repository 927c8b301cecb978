"""A node is killed while it takes in objects: what it acknowledged is there whole, the rest absent or whole."""

import random
from contextlib import closing
from pathlib import Path

import pytest

from replicator.testing.ingest import Ingest
from replicator.testing.oracle import Oracle, read_all
from replicator.testing.processes import ServerProcess, node_process
from replicator.testing.tracing import injector, require_strace

KILLS = 3
ACKNOWLEDGED_MAX = 150
SMALL_SEGMENTS = {"REPLICATOR_NODE_SEGMENT_BYTES_MAX": str(8 * 1024 * 1024)}


def test_killed_again_and_again_at_random_moments(tmp_path: Path, seed: int, rounds: int) -> None:
    rng = random.Random(seed)
    oracle = Oracle()
    with node_process("node1", tmp_path, settings=SMALL_SEGMENTS) as node:
        for life in range(KILLS * rounds):
            ingest_until_killed(node, oracle, seed=seed + life, after=rng.randrange(1, ACKNOWLEDGED_MAX))
            node.start()
            oracle.check(read_all(node.url))
        assert node.stop() == 0


def ingest_until_killed(node: ServerProcess, oracle: Oracle, *, seed: int, after: int) -> None:
    fatal = oracle.acknowledged_total + after

    def kill(total: int) -> None:
        if total == fatal:
            node.kill()

    Ingest(node.url, oracle, seed=seed, limit=2**31, on_acknowledged=kill).run()
    assert not node.is_running


# Each is (calls, up to which of a thread's calls to kill at). Between them they lie before and after every
# write of a segment, every sync, every append to the catalog's log, and the making of every file.
BOUNDARIES = [
    ("pwritev,pwritev2", 30),
    ("fdatasync", 60),
    ("write", 60),
    ("fsync,rename", 10),
    ("pwritev,pwritev2,fdatasync,write,fsync,rename,ftruncate,unlink", 100),
]


@pytest.mark.parametrize(("calls", "count"), BOUNDARIES, ids=[calls for calls, _ in BOUNDARIES])
def test_killed_at_a_system_call(tmp_path: Path, seed: int, rounds: int, calls: str, count: int) -> None:
    require_strace()
    rng = random.Random(seed)
    for turn in range(rounds):
        number = rng.randrange(1, count)
        print(f"killed at {calls}, number {number}")
        kill_at(tmp_path / str(turn), f"{calls}:signal=KILL:when={number}", seed=seed)


def kill_at(folder: Path, fault: str, *, seed: int) -> None:
    oracle = Oracle()
    with closing(node_process("node1", folder, settings=SMALL_SEGMENTS, wrapper=injector(fault))) as node:
        if node.try_start():
            Ingest(node.url, oracle, seed=seed, limit=1000).run()
        node.wait()
        node.wrapper = ()
        node.start()
        oracle.check(read_all(node.url))
        Ingest(node.url, oracle, seed=seed + 1, limit=oracle.acknowledged_total + 20).run()
        oracle.check(read_all(node.url))
        assert node.stop() == 0


def test_killed_while_it_recovers(tmp_path: Path, seed: int, rounds: int) -> None:
    require_strace()
    rng = random.Random(seed)
    oracle = Oracle()
    with node_process("node1", tmp_path, settings=SMALL_SEGMENTS) as node:
        for life in range(rounds):
            ingest_until_killed(node, oracle, seed=seed + life, after=rng.randrange(1, ACKNOWLEDGED_MAX))
            for number in sorted(rng.sample(range(1, 12), 2)):
                node.wrapper = injector(f"fdatasync,ftruncate,fsync,rename,write:signal=KILL:when={number}")
                node.try_start()
                node.kill()
            node.wrapper = ()
            node.start()
            oracle.check(read_all(node.url))
