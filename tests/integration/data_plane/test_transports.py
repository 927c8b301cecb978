"""Nodes that speak one transport, or both: as processes."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Literal

import httpx
import pytest

from replicator.data_plane.replication.opening import peer_opener
from replicator.data_plane.replication.ports import Piece
from replicator.kernel.errors import NotFound, Unavailable
from replicator.runtime.clock import SystemClock
from replicator.testing.objects import noise
from replicator.testing.peer_source import wanted
from replicator.testing.processes import HOST, ServerProcess, node_process
from replicator.testing.waiting import DEADLINE_S
from replicator.wire.sessions import TaskSource

MEBIBYTE = 1024 * 1024


def source_of(node: ServerProcess) -> TaskSource:
    (ready,) = node.events("node.ready")
    return TaskSource(node=node.name, base_url=node.url, rpc_url=ready["rpc_url"])


def listening(pid: int) -> set[int]:
    """Ports of this machine on which the process listens."""
    inodes = {path.readlink().name for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {
        int(line[1].split(":")[1], 16)
        for line in lines
        if line[3] == "0A" and f"socket:[{line[9]}]" in inodes
    }


@pytest.mark.parametrize(
    ("serve", "transports"),
    [("both", ["auto", "http", "grpc"]), ("http", ["auto", "http"]), ("grpc", ["auto", "grpc"])],
)
def test_a_node_is_reached_by_what_it_speaks(
    tmp_path: Path, serve: str, transports: list[Literal["auto", "http", "grpc"]]
) -> None:
    with node_process("node1", tmp_path, arguments=["--serve", serve]) as node:
        httpx.put(f"{node.url}/objects/a", content=b"one").raise_for_status()
        for transport in transports:
            opened = peer_opener(transport, timeout_s=30.0, clock=SystemClock())(source_of(node))
            with closing(opened) as peer:
                assert peer.hello() == "node1"
                (offer,) = peer.offers([wanted("a")], hold_s=1)
            assert not isinstance(offer, Exception)
            assert offer.manifest.size == 3


def test_a_node_without_grpc_opens_no_port_for_it(tmp_path: Path) -> None:
    with node_process("node1", tmp_path, arguments=["--serve", "http"]) as node:
        assert source_of(node).rpc_url is None
        assert listening(node.pid) == {node.port}


def test_a_node_with_grpc_alone_still_has_its_http_api_for_people(tmp_path: Path) -> None:
    with node_process("node1", tmp_path, arguments=["--serve", "grpc"]) as node:
        assert httpx.get(f"{node.url}/health").is_success
        assert httpx.post(f"{node.url}/replication/hello").status_code == 404
        only_http = peer_opener("http", timeout_s=30.0, clock=SystemClock())(source_of(node))
        with closing(only_http) as peer, pytest.raises(NotFound):
            peer.hello()


def test_a_port_that_is_taken_is_named_with_the_way_to_choose_another(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "replicator.data_plane.main", "--name", "node1", "--port", "0"]
        command += ["--data-dir", str(tmp_path / "node1"), "--rpc-port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert ended.returncode == 1
    assert f"port {port} on {HOST} is taken" in ended.stderr
    assert "--rpc-port" in ended.stderr
    assert not (tmp_path / "node1").exists()


def test_a_node_that_is_asked_to_end_leaves_no_stream_and_no_noise(tmp_path: Path) -> None:
    with node_process("node1", tmp_path, arguments=["--serve", "grpc"]) as node:
        httpx.put(f"{node.url}/objects/a", content=noise(1, 24 * MEBIBYTE)).raise_for_status()
        opened = peer_opener("grpc", timeout_s=30.0, clock=SystemClock())(source_of(node))
        with closing(opened) as peer:
            (offer,) = peer.offers([wanted("a")], hold_s=1)
            assert not isinstance(offer, Exception)
            stream = peer.fetch([Piece(offer.manifest.entries)], compress=False)
            next(stream)
            node.terminate()
            for _ in stream:
                pass
        assert node.wait() == 0
        assert node.events("node.stopped")
        assert not node.stray_output()


def test_a_node_that_stands_still_is_noticed_however_long_the_answer_may_take(tmp_path: Path) -> None:
    with node_process("node1", tmp_path) as node:
        opened = peer_opener("grpc", timeout_s=1.0, clock=SystemClock())(source_of(node))
        with closing(opened) as peer:
            assert peer.hello() == "node1"
            node.suspend()
            try:
                with pytest.raises(Unavailable):
                    peer.prove([wanted("a")], size_bytes=1)
            finally:
                node.resume()
            assert peer.hello() == "node1"
