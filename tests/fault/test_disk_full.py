"""A disk that is full: writes are refused with 507, reads and deletes go on, and it recovers with the space."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from replicator.testing.forgery import cut, forge
from replicator.testing.lying_source import LyingSource
from replicator.testing.oracle import Oracle, content_of, read_all
from replicator.testing.processes import ServerProcess, node_process
from replicator.testing.task_desk import TaskDesk

MEBIBYTE = 1024 * 1024
DISK_BYTES = 96 * MEBIBYTE
BALLAST_BYTES = 32 * MEBIBYTE
RESERVE = {"REPLICATOR_NODE_DISK_RESERVE_BYTES": str(24 * MEBIBYTE)}

pytestmark = pytest.mark.root


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own, a third of it taken by a file that can be removed."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("needs root on Linux, to mount a small tmpfs")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.decode().strip()}")
    try:
        (folder / "ballast").write_bytes(bytes(BALLAST_BYTES))
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def put(client: httpx.Client, oracle: Oracle, object_id: str, data: bytes) -> httpx.Response:
    oracle.trying(object_id, content_of(data))
    answer = client.put(f"/objects/{object_id}", content=data)
    if answer.is_success:
        oracle.acknowledged(object_id, content_of(data))
    elif answer.status_code == httpx.codes.INSUFFICIENT_STORAGE:
        oracle.refused(object_id, content_of(data))
    return answer


def fill(client: httpx.Client, oracle: Oracle, rng: random.Random, *, size: int) -> httpx.Response:
    """Put objects until one is refused; the refusal."""
    for number in range(DISK_BYTES // size + 1):
        answer = put(client, oracle, f"{size}/{number}", rng.randbytes(size))
        if not answer.is_success:
            return answer
    pytest.fail("the disk took more than it holds")


def test_it_refuses_with_507_and_recovers(disk: Path, seed: int) -> None:
    rng = random.Random(seed)
    oracle = Oracle()
    with (
        node_process("node1", disk, settings=RESERVE) as node,
        httpx.Client(base_url=node.url, trust_env=False, timeout=30) as client,
    ):
        for size in (7 * MEBIBYTE, 300_000, 10_000):
            refused = fill(client, oracle, rng, size=size)
            assert (refused.status_code, refused.json()["code"]) == (507, "quota-exceeded")
            assert "free space" in refused.json()["detail"]
        kept = rng.randbytes(20)
        chunk = client.put(f"/chunks/{content_of(bytes(9000)).hex()}", content=bytes(9000))
        assert chunk.status_code == 507
        oracle.check(read_all(node.url))
        assert client.get("/ready").status_code == 200
        oracle.trying("7340032/0", None)
        assert client.delete("/objects/7340032/0").status_code == 204
        oracle.acknowledged("7340032/0", None)

        (disk / "ballast").unlink()
        assert put(client, oracle, "after", kept).status_code == 201
        assert put(client, oracle, "after/large", rng.randbytes(7 * MEBIBYTE)).status_code == 201
        assert node.stray_output() == []
        assert node.events("store.failed") == []
        node.kill()
        node.start()
        oracle.check(read_all(node.url))


def test_full_to_the_last_byte_it_never_acknowledges_what_it_cannot_keep(disk: Path, seed: int) -> None:
    rng = random.Random(seed)
    oracle = Oracle()
    with node_process("node1", disk, settings={"REPLICATOR_NODE_DISK_RESERVE_BYTES": "0"}) as node:
        with httpx.Client(base_url=node.url, trust_env=False, timeout=30) as client:
            for size in (5 * MEBIBYTE, 100_000, 1_000):
                assert fill(client, oracle, rng, size=size).status_code in (507, 503)
            assert_all_reads(client, oracle, node)
        (disk / "ballast").unlink()
        assert node.stop() == 0
        node.start()
        oracle.check(read_all(node.url))
        with httpx.Client(base_url=node.url, trust_env=False, timeout=30) as client:
            assert put(client, oracle, "after", b"there is room again").status_code == 201


def assert_all_reads(client: httpx.Client, oracle: Oracle, node: ServerProcess) -> None:
    """What is there can be read; whether the store failed or not, the node says how it is."""
    oracle.check(read_all(node.url))
    failed = bool(node.events("store.failed"))
    assert client.get("/ready").status_code == (503 if failed else 200)


def test_a_pull_waits_for_space_and_does_not_begin_anew(disk: Path, seed: int) -> None:
    data = random.Random(seed).randbytes(60 * MEBIBYTE)
    with (
        TaskDesk() as desk,
        LyingSource() as source,
        node_process("node1", disk, control_plane=desk.url, settings=RESERVE) as node,
    ):
        source.show("big", forge(cut(data)))
        refused = desk.result(desk.assign("big", source.url))
        assert refused.error is not None
        assert (refused.error.error_class, refused.error.code) == ("transient", "quota-exceeded")
        assert refused.transfer.bytes_transferred > 0
        assert httpx.get(f"{node.url}/objects/big", trust_env=False).status_code == 404

        (disk / "ballast").unlink()
        again = desk.result(desk.assign("big", source.url))
        assert again.outcome == "succeeded"
        assert again.transfer.bytes_transferred == len(data) - refused.transfer.bytes_transferred
        assert httpx.get(f"{node.url}/objects/big", trust_env=False, timeout=60).content == data
