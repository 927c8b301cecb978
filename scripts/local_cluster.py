"""A control plane and two nodes as real processes on this machine; what `make demo` and `make up` share."""

from __future__ import annotations

import argparse
import io
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx

from replicator.data_plane.settings import RPC_PORT_OFFSET

HOST = "127.0.0.1"
READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
LOG_TAIL_LINES = 25
_POLL_SECONDS = 0.1


class ClusterError(Exception):
    """The cluster cannot run; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Where the three processes listen; nodes for gRPC on the port that lies `RPC_PORT_OFFSET` above."""

    control_plane: int
    node1: int
    node2: int

    @classmethod
    def add_options(cls, parser: argparse.ArgumentParser) -> None:
        """Options for the ports, whose defaults may come from the environment (`make demo PORT_NODE1=…`)."""
        for name, default in (("control-plane", 8000), ("node1", 9001), ("node2", 9002)):
            parser.add_argument(
                f"--port-{name}",
                type=int,
                metavar="PORT",
                default=os.environ.get(_variable(name), default),
                help=f"port of {name}; also ${_variable(name)} (default {default})",
            )

    @classmethod
    def chosen(cls, options: argparse.Namespace) -> Self:
        """What the options say."""
        return cls(
            control_plane=options.port_control_plane, node1=options.port_node1, node2=options.port_node2
        )

    def refuse_taken(self, make_target: str) -> None:
        """Raise `ClusterError` that names every port in use and how to choose another."""
        wanted = {"control-plane": self.control_plane, "node1": self.node1, "node2": self.node2}
        needed = list(wanted.items())
        needed += [(name, wanted[name] + RPC_PORT_OFFSET) for name in ("node1", "node2")]
        taken = [(name, port) for name, port in needed if _is_taken(port)]
        if taken:
            which = ", ".join(f"port {port} (for {name})" for name, port in taken)
            others = " ".join(dict.fromkeys(f"{_variable(name)}={wanted[name] + 10000}" for name, _ in taken))
            raise ClusterError(
                f"{which}: taken by another process; choose another: make {make_target} {others}"
            )


def _variable(name: str) -> str:
    return f"PORT_{name.replace('-', '_').upper()}"


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
        return False


@dataclass
class Process:
    """A server process and where it logs."""

    name: str
    url: str
    log: Path
    running: subprocess.Popen[bytes] = field(repr=False)

    def log_tail(self) -> str:
        """The last lines of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"--- last lines of {self.name}, {self.log}", *lines])


class LocalCluster:
    """Three processes that run while the context lasts; their data and logs are below `folder`.

    Entering waits until all are ready. Leaving stops them, also after an error or a signal, and then prints
    the ends of their logs to standard error if an error is what ended it.

    With `join` the nodes are told at their start which control plane to join; without, when they are registered.
    With `backups` each has the folder `backups/NAME` for them.
    """

    def __init__(self, folder: Path, ports: Ports, *, join: bool = False, backups: bool = False) -> None:
        self._join = ["--control-plane", f"http://127.0.0.1:{ports.control_plane}"] if join else []
        self.control_plane_url = f"http://localhost:{ports.control_plane}"
        self.node_urls = {
            "node1": f"http://localhost:{ports.node1}",
            "node2": f"http://localhost:{ports.node2}",
        }
        self._folder = folder
        self._ports = ports
        self._backups = folder / "backups" if backups else None
        self._processes: list[Process] = []

    def commands(self) -> dict[str, list[str]]:
        """What starts each process, by its name."""
        ports = {"node1": self._ports.node1, "node2": self._ports.node2}
        control_plane = ["replicator", "control-plane", "--data-dir", str(self._folder / "control-plane")]
        nodes = {
            name: ["replicator", "node", "--name", name, "--data-dir", str(self._folder / name)]
            for name in ports
        }
        if self._backups is not None:
            for name, command in nodes.items():
                command += ["--backup-dir", str(self._backups / name)]
        return {
            "control-plane": [*control_plane, "--port", str(self._ports.control_plane)],
            **{name: [*command, "--port", str(ports[name]), *self._join] for name, command in nodes.items()},
        }

    def __enter__(self) -> Self:
        urls = {"control-plane": self.control_plane_url, **self.node_urls}
        (self._folder / "logs").mkdir(parents=True, exist_ok=True)
        try:
            for name, command in self.commands().items():
                print(f"  $ {shlex.join(command)}")
                self._processes.append(self._start(name, command, urls[name]))
            self._wait_until_ready()
        except BaseException as error:
            self._end(error)
            raise
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._end(error)

    def watch(self) -> None:
        """Raise `ClusterError` if a process has ended."""
        for process in self._processes:
            code = process.running.poll()
            if code is not None:
                raise ClusterError(f"{process.name} ended with exit code {code}")

    def _start(self, name: str, command: list[str], url: str) -> Process:
        log = self._folder / "logs" / f"{name}.log"
        # Settings of the caller's own installation are not for this cluster.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("REPLICATOR_")}
        with log.open("ab") as output:
            running = subprocess.Popen(
                [sys.executable, "-m", "replicator.cli.main", *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                # Ctrl-C reaches this process alone, which then stops the others in order.
                start_new_session=True,
            )
        return Process(name=name, url=url, log=log, running=running)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        for process in self._processes:
            while not _answers(f"{process.url}/ready"):
                self.watch()
                if time.monotonic() > deadline:
                    raise ClusterError(f"{process.name} was not ready within {READY_SECONDS_MAX:g} s")
                time.sleep(_POLL_SECONDS)

    def _end(self, error: BaseException | None) -> None:
        # A second Ctrl-C may not leave processes behind; each of them has a deadline.
        previous = {number: signal.signal(number, signal.SIG_IGN) for number in _END_SIGNALS}
        try:
            self._stop_all()
            if error is not None and not isinstance(error, KeyboardInterrupt):
                for process in self._processes:
                    print(process.log_tail(), file=sys.stderr)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _stop_all(self) -> None:
        for process in self._processes:
            process.running.terminate()
        deadline = time.monotonic() + STOP_SECONDS_MAX
        for process in self._processes:
            try:
                process.running.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                print(f"{process.name} did not stop within {STOP_SECONDS_MAX:g} s: killed", file=sys.stderr)
                process.running.kill()
                process.running.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).is_success
    except httpx.TransportError:
        return False


_END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def prepare_terminal() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does, and keep what it prints in order in a pipe."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    for number in _END_SIGNALS:
        signal.signal(number, signal.default_int_handler)
