"""A control plane and two nodes as real processes with fresh data, ended by their process ids."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.memory import peak_rss_bytes
from benchmarks.places import LOOPBACK, ON_LOOPBACK, Address, Place, Places
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
    address: Address
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.address.port

    @property
    def url(self) -> str:
        """Its base URL."""
        return self.address.url

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
    """The processes, registered and connected. The last node is the destination, the others are sources.

    Attributes:
        idle_rss: from before any request of a benchmark.
        places: where they run.
    """

    control_plane: Server
    nodes: tuple[Server, ...]
    idle_rss: dict[str, int]
    places: Places

    @property
    def servers(self) -> tuple[Server, ...]:
        """Every process."""
        return (self.control_plane, *self.nodes)


@contextmanager
def running_cluster(folder: Path, places: Places = ON_LOOPBACK, *, sources: int = 1) -> Iterator[Cluster]:
    """A cluster whose data live in `folder`, which is removed in the end; what is there already is taken over."""
    folder.mkdir(parents=True, exist_ok=True)
    here = Place(bind=places.hub, host=places.hub)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        control_plane = stack.enter_context(_server("control-plane", _CONTROL_PLANE, folder, here))
        nodes = []
        for number in range(1, sources + 2):
            name = f"node{number}"
            place = places.source if number <= sources else places.destination
            nodes.append(stack.enter_context(_node(name, folder, place, control_plane)))
        servers = (control_plane, *nodes)
        for server in servers:
            _await_ready(server)
        _await_connected(control_plane, nodes)
        idle = {server.name: server.peak_rss_bytes() or 0 for server in servers}
        yield Cluster(control_plane, tuple(nodes), idle, places)


@contextmanager
def running_node(folder: Path, *options: str) -> Iterator[Server]:
    """A node that belongs to no cluster; its data live in `folder`, which is removed in the end.

    Args:
        options: of its command line, `--name` first.
    """
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        node = stack.enter_context(_server(options[1], _NODE, folder, Place(), *options))
        _await_ready(node)
        yield node


@contextmanager
def running_control_plane(name: str, folder: Path, *options: str) -> Iterator[Server]:
    """A control plane that belongs to no cluster; its data live in `folder`, which stays."""
    folder.mkdir(parents=True, exist_ok=True)
    with _server(name, _CONTROL_PLANE, folder, Place(), *options) as server:
        _await_ready(server)
        yield server


def _node(name: str, folder: Path, place: Place, control_plane: Server) -> AbstractContextManager[Server]:
    port = _free_port()
    reached = Address(place.peer_host, port)
    options = ["--name", name, "--base-url", reached.url, "--control-plane", control_plane.url]
    options += ["--rpc-port", str(_free_port())]
    return _server(name, _NODE, folder, place, *options, port=port)


@contextmanager
def _server(
    name: str, module: str, folder: Path, place: Place, *options: str, port: int = 0
) -> Iterator[Server]:
    port = port or _free_port()
    log = folder / f"{name}.log"
    command = [*place.wrapper, sys.executable, "-m", module, *options]
    command += ["--host", place.bind, "--port", str(port), "--data-dir", str(folder / name)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield Server(name, Address(place.host, port), process, log)
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
    with socket.create_server((LOOPBACK, 0)) as listener:
        return int(listener.getsockname()[1])


def _await_ready(server: Server) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        server.require_alive()
        try:
            if httpx.get(f"{server.url}/health", timeout=1.0, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(_POLL_SECONDS)
    raise Unavailable(f"{server.name} did not answer GET /health within {_START_SECONDS:g} s")


def _await_connected(control_plane: Server, nodes: Sequence[Server]) -> None:
    with httpx.Client(base_url=control_plane.url, timeout=_START_SECONDS, trust_env=False) as client:
        deadline = time.monotonic() + _START_SECONDS
        waiting = list(nodes)
        while waiting:
            if time.monotonic() > deadline:
                raise Unavailable(f"{waiting[0].name} did not connect within {_START_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)
            waiting = [node for node in waiting if not _is_connected(client, node)]


def _is_connected(client: httpx.Client, node: Server) -> bool:
    node.require_alive()
    answer = client.get(f"/nodes/{node.name}")
    return answer.is_success and answer.json()["status"] == "connected"
