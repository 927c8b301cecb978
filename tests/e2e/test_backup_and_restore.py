"""A node is backed up while clients write to it, and another node serves what was restored from that."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path

import httpx

from replicator.testing.objects import noise
from replicator.testing.oracle import read_all
from replicator.testing.processes import node_process
from replicator.testing.waiting import wait_until


class Traffic:
    """A client that puts objects, one after the other, while the block lasts."""

    def __init__(self, url: str) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self._url = url
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._ends.is_set():
                number = len(self.acknowledged)
                object_id = f"object-{number:05}"
                data = noise(number, 1000 + 997 * (number % 200))
                client.put(f"{self._url}/objects/{object_id}", content=data).raise_for_status()
                self.acknowledged[object_id] = hashlib.sha256(data).digest()


def offline(*arguments: object) -> tuple[int, str]:
    command = [sys.executable, "-m", "replicator.data_plane.offline", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert not done.stderr or done.returncode, done.stderr
    return done.returncode, done.stdout or done.stderr


def test_a_backup_made_under_traffic_is_restored_and_served(tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    arguments = ["--backup-dir", str(backups), "--segment-bytes-max", str(1024 * 1024)]
    with node_process("node1", tmp_path, arguments=arguments) as node:
        traffic = Traffic(node.url)
        with traffic:
            wait_until(lambda: len(traffic.acknowledged) > 60, "there is something to back up")
            before = dict(traffic.acknowledged)
            made = httpx.post(
                f"{node.url}/store/backups", json={"name": "today"}, timeout=60, trust_env=False
            )
            assert made.status_code == httpx.codes.CREATED, made.text
            asked = len(traffic.acknowledged)
            wait_until(lambda: len(traffic.acknowledged) > asked + 20, "traffic goes on")
        data_dir = node.data_dir
        assert offline("check", "--data-dir", data_dir)[0] == 4

        code, text = offline("restore", backups / "today", tmp_path / "node2", "--json")
        assert code == 0, text
        assert json.loads(text)["findings"] == []
        with node_process("node2", tmp_path) as other:
            found = read_all(other.url)
            assert before.items() <= found.items() <= traffic.acknowledged.items()
            httpx.put(f"{other.url}/objects/only-here", content=b"x", trust_env=False).raise_for_status()
        assert read_all(node.url) == traffic.acknowledged
    code, text = offline("check", "--data-dir", data_dir, "--read-data")
    assert code == 0, text


def test_a_node_whose_catalog_was_lost_serves_everything_again(tmp_path: Path) -> None:
    with node_process("node1", tmp_path) as node:
        for number in range(20):
            answer = httpx.put(
                f"{node.url}/objects/{number}", content=noise(number, 5000 * number), trust_env=False
            )
            answer.raise_for_status()
        before = read_all(node.url)
        node.kill()
        for file in (node.data_dir / "catalog").iterdir():
            file.unlink()
        code, text = offline("check", "--data-dir", node.data_dir)
        assert (code, "rebuild-catalog" in text) == (1, True), text
        code, text = offline("rebuild-catalog", "--data-dir", node.data_dir)
        assert code == 0, text
        assert offline("check", "--data-dir", node.data_dir, "--read-data")[0] == 0
        node.start()
        assert read_all(node.url) == before


def test_wrong_use_is_told_apart(tmp_path: Path) -> None:
    assert offline("check", "--data-dir", tmp_path / "nothing")[0] == 2
    code, text = offline("restore", tmp_path, tmp_path / "new", "--json")
    assert code == 2
    assert json.loads(text)["code"] == "invalid-request"
    assert offline("check")[0] == 2
