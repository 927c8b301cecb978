"""A control plane and two nodes as real processes with fresh data, ended by their process ids."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.memory import peak_rss_bytes
from replicator.kernel.errors import Unavailable

NODE_NAMES = ("node1", "node2")
_CONTROL_PLANE, _NODE = "replicator.control_plane.main", "replicator.data_plane.main"
_START_SECONDS = 60.0
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05
_LOG_BYTES_SHOWN = 4000


@dataclass(frozen=True, slots=True)
class Server:
    """One running process."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def peak_rss_bytes(self) -> int | None:
        """The most memory it ever had resident; None where the system does not tell."""
        return peak_rss_bytes(self.process.pid)

    def require_alive(self) -> None:
        """Raise `Unavailable` with the end of its log where it has exited."""
        if self.process.poll() is not None:
            tail = self.log.read_bytes()[-_LOG_BYTES_SHOWN:].decode(errors="replace")
            raise Unavailable(f"{self.name} exited with {self.process.returncode}; its log ends:\n{tail}")


@dataclass(frozen=True, slots=True)
class Cluster:
    """The three processes, registered and connected. `idle_rss` is from before any request of a benchmark."""

    control_plane: Server
    nodes: tuple[Server, Server]
    idle_rss: dict[str, int]

    @property
    def servers(self) -> tuple[Server, ...]:
        """Every process."""
        return (self.control_plane, *self.nodes)


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster whose data live in `folder`, which is removed in the end."""
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        control_plane = stack.enter_context(_server("control-plane", _CONTROL_PLANE, folder))
        first, second = (
            stack.enter_context(_server(name, _NODE, folder, "--name", name)) for name in NODE_NAMES
        )
        servers = (control_plane, first, second)
        for server in servers:
            _await_ready(server)
        _register(control_plane, (first, second))
        idle = {server.name: server.peak_rss_bytes() or 0 for server in servers}
        yield Cluster(control_plane, (first, second), idle)


@contextmanager
def running_node(folder: Path, *options: str) -> Iterator[Server]:
    """A node that belongs to no cluster; its data live in `folder`, which is removed in the end.

    Args:
        options: of its command line, `--name` first.
    """
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        node = stack.enter_context(_server(options[1], _NODE, folder, *options))
        _await_ready(node)
        yield node


@contextmanager
def _server(name: str, module: str, folder: Path, *options: str) -> Iterator[Server]:
    port = _free_port()
    log = folder / f"{name}.log"
    command = [sys.executable, "-m", module, *options]
    command += ["--port", str(port), "--data-dir", str(folder / name)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield Server(name, port, process, log)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_SECONDS)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _await_ready(server: Server) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        server.require_alive()
        try:
            if httpx.get(f"{server.url}/health", timeout=1.0).is_success:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(_POLL_SECONDS)
    raise Unavailable(f"{server.name} did not answer GET /health within {_START_SECONDS:g} s")


def _register(control_plane: Server, nodes: tuple[Server, ...]) -> None:
    with httpx.Client(base_url=control_plane.url, timeout=_START_SECONDS) as client:
        for node in nodes:
            client.post("/nodes/register", json={"name": node.name, "base_url": node.url}).raise_for_status()
        deadline = time.monotonic() + _START_SECONDS
        waiting = list(nodes)
        while waiting:
            if time.monotonic() > deadline:
                raise Unavailable(f"{waiting[0].name} did not connect within {_START_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)
            waiting = [node for node in waiting if _status(client, node) != "connected"]


def _status(client: httpx.Client, node: Server) -> str:
    node.require_alive()
    return str(client.get(f"/nodes/{node.name}").raise_for_status().json()["status"])
