"""The power fails while a node writes: what it acknowledged is there when it comes back, and nothing partial."""

import os
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from replicator.testing.oracle import Oracle, content_of, read_all
from replicator.testing.power import LoopDisk, power_cuts_missing
from replicator.testing.processes import ServerProcess, node_process
from replicator.testing.tracing import injector, require_strace
from replicator.testing.traffic import Traffic

MEBIBYTE = 1024 * 1024
DISK_BYTES = 512 * MEBIBYTE
CUTS = 3
ACKNOWLEDGED_MAX = 120
SETTINGS = {
    "REPLICATOR_NODE_SEGMENT_BYTES_MAX": str(8 * MEBIBYTE),
    "REPLICATOR_NODE_DISK_RESERVE_BYTES": str(16 * MEBIBYTE),
}

pytestmark = pytest.mark.root


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    if missing := power_cuts_missing():
        pytest.skip(missing)
    with LoopDisk(tmp_path / "disk", size_bytes=DISK_BYTES) as disk:
        yield disk


def node_on(disk: LoopDisk, folder: Path, *, wrapper: tuple[str, ...] = ()) -> ServerProcess:
    """A node with its data on the disk, and its log beside it."""
    data_dir = ["--data-dir", str(disk.path / "data")]
    return node_process("node1", folder, settings=SETTINGS, arguments=data_dir, wrapper=wrapper)


def run_until_power_fails(node: ServerProcess, disk: LoopDisk, oracle: Oracle, rng: random.Random) -> None:
    with Traffic(node.url, oracle, seed=rng.randrange(2**32)) as traffic:
        traffic.wait_acknowledged(rng.randrange(1, ACKNOWLEDGED_MAX))
        traffic.trouble.set()
        traffic.darkness.set()
        disk.cut_power(log_flushed=rng.random() < 0.25)
        traffic.wait_ended()
    assert_it_acknowledges_nothing(node, oracle)
    node.kill()
    disk.remount()


def assert_it_acknowledges_nothing(node: ServerProcess, oracle: Oracle) -> None:
    with httpx.Client(base_url=node.url, trust_env=False, timeout=30) as client:
        oracle.trying("too late", content_of(b"too late"))
        answer = client.put("/objects/too late", content=b"too late")
        assert (answer.status_code, answer.json()["code"]) == (503, "store-failed")
        assert client.get("/ready").status_code == 503


def test_power_is_cut_again_and_again(disk: LoopDisk, tmp_path: Path, seed: int, rounds: int) -> None:
    rng = random.Random(seed)
    oracle = Oracle()
    with closing(node_on(disk, tmp_path)) as node:
        for _ in range(CUTS * rounds):
            node.start()
            oracle.check(read_all(node.url))
            run_until_power_fails(node, disk, oracle, rng)
        node.start()
        oracle.check(read_all(node.url))
        assert node.stop() == 0
        assert node.stray_output() == []


def test_what_was_not_synced_is_gone_and_what_was_is_there(disk: LoopDisk) -> None:
    """The fault itself: without this, a test with it would show nothing."""
    for name in ("synced", "not synced"):
        with (disk.path / name).open("wb", buffering=0) as file:
            file.write(b"x" * 5000)
            if name == "synced":
                os.fsync(file.fileno())
    disk.cut_power()
    with pytest.raises(OSError, match="Input/output error"):
        (disk.path / "later").write_bytes(b"x")
    disk.remount()
    found = {file.name: file.stat().st_size for file in disk.path.iterdir() if file.is_file()}
    assert found.pop("synced") == 5000
    assert sum(found.values()) == 0


def test_a_node_whose_syncs_do_nothing_is_caught(disk: LoopDisk, tmp_path: Path, seed: int) -> None:
    """The check itself: were a sync missing, `test_power_is_cut_again_and_again` would fail."""
    require_strace()
    oracle = Oracle()
    with closing(node_on(disk, tmp_path, wrapper=injector("fdatasync:retval=0"))) as node:
        node.start()
        with Traffic(node.url, oracle, seed=seed) as traffic:
            traffic.wait_acknowledged(50)
            traffic.trouble.set()
            traffic.darkness.set()
            disk.cut_power()
        node.kill()
        disk.remount()
        node.wrapper = ()
        if node.try_start():
            with pytest.raises(AssertionError):
                oracle.check(read_all(node.url))
