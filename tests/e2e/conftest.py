"""A real cluster, as `make up` runs it: `scripts/up.py` on free ports, with data in a fresh folder."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from replicator.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
UP = ROOT / "scripts" / "up.py"
START_SECONDS_MAX = 90.0
COMMAND_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 40.0
_LOG_CHARACTERS = 4000


@dataclass(frozen=True)
class Cluster:
    """Where everything is, and the command line pointed at it."""

    folder: Path
    control_plane: str
    node1: str
    node2: str

    def environment(self) -> dict[str, str]:
        """For a process that is to use this cluster."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("REPLICATOR_")}
        return inherited | {"REPLICATOR_CONTROL_PLANE_URL": self.control_plane}

    def replicator(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """What the command answers, run inside this process: its imports cost more than it does."""
        result = CliRunner().invoke(
            app, arguments, env={"REPLICATOR_CONTROL_PLANE_URL": self.control_plane}, catch_exceptions=False
        )
        return subprocess.CompletedProcess(
            arguments, result.exit_code, result.stdout_bytes, result.stderr_bytes
        )

    def process(
        self, *arguments: str, stdin: bytes = b"", cwd: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `replicator` as a process to its end; the caller looks at the exit code."""
        return subprocess.run(
            [sys.executable, "-m", "replicator.cli.main", *arguments],
            input=stdin,
            capture_output=True,
            timeout=COMMAND_SECONDS_MAX,
            env=self.environment(),
            cwd=cwd or self.folder,
        )

    def logs(self) -> str:
        """The ends of all logs."""
        found = sorted(self.folder.glob("**/logs/*.log"))
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-_LOG_CHARACTERS:]}" for log in found
        )


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane and two nodes, both registered. Stopped at the end, and checked to have stopped."""
    folder = tmp_path_factory.mktemp("cluster")
    ports = free_ports(3)
    urls = [f"http://localhost:{port}" for port in ports]
    running = Cluster(folder, *urls)
    output = folder / "up.log"
    with output.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(UP), "--dir", str(folder / "data"), *port_options(ports)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for_text(output, "Ready.", process)
        yield running
    except TimeoutError as error:
        pytest.fail(f"{error}\n{running.logs()}")
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(STOP_SECONDS_MAX)
    assert code == 0, running.logs()
    assert not any(map(is_listening, ports)), "something was left running"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Iterator[None]:
    """Show the logs of the cluster with every test that failed on it."""
    report = yield
    if report.failed and "cluster" in item.funcargs:  # type: ignore[attr-defined]
        report.sections.append(("cluster", item.funcargs["cluster"].logs()))  # type: ignore[attr-defined]
    return report


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def port_options(ports: list[int]) -> list[str]:
    names = ("--port-control-plane", "--port-node1", "--port-node2")
    return [part for name, port in zip(names, ports, strict=True) for part in (name, str(port))]


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for_text(file: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until `text` stands in `file`; raises `TimeoutError` if it does not come or `process` ends."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while text not in file.read_text(errors="replace"):
        if process.poll() is not None:
            raise TimeoutError(f"the process ended with {process.returncode} before it said {text!r}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{text!r} did not appear within {START_SECONDS_MAX:g} s")
        time.sleep(0.05)
