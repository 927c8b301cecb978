"""Servers under test, as users run them: real processes on loopback that may be killed and started again."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from replicator.testing.waiting import wait_until

HOST = "127.0.0.1"
STOP_SECONDS_MAX = 30.0
_LOG_CHARACTERS = 4000
_PORTS = range(15_000, 32_000)
_ports = random.SystemRandom()


def free_port() -> int:
    """A port that nobody has just now, for a server that must know it before it starts.

    It is below those that outgoing connections are given, which would take it while the server is dead.
    """
    for port in _ports.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"every port from {_PORTS.start} to {_PORTS.stop} is taken")


class ServerProcess:
    """One server, over all its lives: it keeps its folder and, once it has one, its port.

    Args:
        folder: holds its data and its log, `NAME.log`, to which every life appends.
        module: what `python -m` runs.
        ready_event: the log event, with a `url`, that says it serves.
        settings: environment variables; `REPLICATOR_…` of the test's own environment are not passed on.
        wrapper: command that runs the server, such as `strace -D …`; it has to keep the process id.
        port: where it listens; 0 for one that is free.
        host: where it is reached.
        log_name: of the log, where `name` will not do.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        module: str,
        ready_event: str,
        arguments: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        port: int = 0,
        host: str = HOST,
        log_name: str | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{log_name or name}.log"
        self.wrapper = tuple(wrapper)
        self.settings = dict(settings or {})
        self._folder = folder
        self._module = module
        self._ready_event = ready_event
        self._arguments = tuple(arguments)
        self._port = port
        self._host = host
        self._log_start = 0
        self._running: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it if it runs."""
        if self.is_running:
            self.kill()

    @property
    def data_dir(self) -> Path:
        """The folder of its data."""
        return self._folder / self.name

    @property
    def port(self) -> int:
        """Where it listens, in every life."""
        return self._port

    @property
    def url(self) -> str:
        """The base URL of its API."""
        return f"http://{self._host}:{self._port}"

    @property
    def pid(self) -> int:
        """The process of its present life."""
        assert self._running is not None
        return self._running.pid

    @property
    def is_running(self) -> bool:
        """Whether its last life goes on."""
        return self._running is not None and self._running.poll() is None

    def start(self) -> Self:
        """Begin a life and wait until it serves; raises `RuntimeError` with its log if it ends before."""
        if not self.try_start():
            raise RuntimeError(f"{self.name} ended before it was ready\n{self.log_tail()}")
        return self

    def try_start(self) -> bool:
        """Begin a life and wait; whether it came to serve before it ended."""
        self.launch()
        return wait_until(self._look_ready, f"{self.name} is ready or has ended") == "ready"

    def launch(self) -> None:
        """Begin a life without waiting."""
        assert not self.is_running
        self.log.parent.mkdir(parents=True, exist_ok=True)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("REPLICATOR_")}
        command = [*self.wrapper, sys.executable, "-m", self._module]
        command += ["--port", str(self._port), "--log-format", "json", *self._arguments]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._running = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=inherited | self.settings,
            )

    def terminate(self) -> None:
        """Ask it to end, as an operator does."""
        self._signal(signal.SIGTERM)

    def stop(self) -> int:
        """The same, and wait for it; returns the exit code."""
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        self._signal(signal.SIGKILL)
        self.wait()

    def suspend(self) -> None:
        """Stop it where it is, and wait until all its threads stand: it keeps its connections, and says nothing."""
        self._signal(signal.SIGSTOP)
        # The signal is only on its way when `kill` returns: a thread that runs may still answer somebody.
        state = os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT
        wait_until(
            lambda: not self.is_running or os.waitid(os.P_PID, self.pid, state), "all of it stands still"
        )

    def resume(self) -> None:
        """Let it go on after `suspend`; does nothing to one that runs."""
        self._signal(signal.SIGCONT)

    def wait(self) -> int:
        """Wait for its end; returns the exit code, negative for a signal."""
        assert self._running is not None
        try:
            return self._running.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()
            raise

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """What it logged in its present life; only the events called `name` if one is given."""
        found = [json.loads(line) for line in self._lines() if line.startswith("{") and line.endswith("}")]
        return [event for event in found if name in (None, event.get("event"))]

    def stray_output(self) -> list[str]:
        """Lines of its present life that are no events: tracebacks, warnings of libraries."""
        return [line for line in self._lines() if line and not line.startswith("{")]

    def log_tail(self) -> str:
        """The end of its log, for a failure message."""
        return f"--- {self.log.name}\n" + self.log.read_text(errors="replace")[-_LOG_CHARACTERS:]

    def peak_memory_bytes(self) -> int:
        """The most memory it has had resident in its present life."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def bytes_read(self) -> int:
        """What it has read from files and pipes, by the kernel's count; sockets read by `recv` are not in."""
        found = re.search(r"rchar: (\d+)", Path(f"/proc/{self.pid}/io").read_text())
        assert found is not None
        return int(found[1])

    def open_files(self) -> int:
        """How many descriptors it holds."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def _look_ready(self) -> str | None:
        for event in self.events(self._ready_event):
            self._port = self._port or urlsplit(str(event["url"])).port or 0
            return "ready"
        return None if self.is_running else "ended"

    def _lines(self) -> list[str]:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace").splitlines()

    def _signal(self, number: signal.Signals) -> None:
        if self.is_running:
            os.kill(self.pid, number)


def node_process(
    name: str,
    folder: Path,
    *,
    control_plane: str | None = None,
    base_url: str | None = None,
    settings: Mapping[str, str] | None = None,
    wrapper: Sequence[str] = (),
    arguments: Sequence[str] = (),
    port: int = 0,
    host: str = HOST,
    log_name: str | None = None,
) -> ServerProcess:
    """A node with its data in `folder/NAME`; not started.

    Args:
        base_url: where others reach it, where that is not its `port`, which then has to be given.
        arguments: come last.
    """
    options = ["--name", name, "--data-dir", str(folder / name)]
    if control_plane is not None:
        options += ["--control-plane", control_plane]
    if base_url is not None:
        options += ["--base-url", base_url]
    # The one it would choose by itself may be taken.
    options += ["--rpc-port", "0"]
    return ServerProcess(
        name,
        folder,
        module="replicator.data_plane.main",
        ready_event="node.ready",
        arguments=[*options, *arguments],
        settings=settings,
        wrapper=wrapper,
        port=port,
        host=host,
        log_name=log_name,
    )


def control_plane_process(
    folder: Path, *, settings: Mapping[str, str] | None = None, host: str = HOST, port: int = 0
) -> ServerProcess:
    """A control plane at `host` with its data in `folder/control-plane`, quick to retry and never tired of it."""
    eager = {
        "REPLICATOR_CONTROL_PLANE_ATTEMPTS_MAX": "1000",
        "REPLICATOR_CONTROL_PLANE_BACKOFF_FLOOR_SECONDS": "0.05",
        "REPLICATOR_CONTROL_PLANE_BACKOFF_STEP_SECONDS": "0.05",
        "REPLICATOR_CONTROL_PLANE_BACKOFF_MAX_SECONDS": "0.2",
    }
    return ServerProcess(
        "control-plane",
        folder,
        module="replicator.control_plane.main",
        ready_event="control-plane.started",
        arguments=["--data-dir", str(folder / "control-plane"), "--host", host],
        settings=eager | dict(settings or {}),
        host=host,
        port=port,
    )
