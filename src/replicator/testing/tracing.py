"""Faults in system calls, by `strace`: calls that fail, or at which the process is killed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from replicator.testing.processes import ServerProcess
from replicator.testing.waiting import DEADLINE_S, wait_until


@cache
def strace_missing() -> str | None:
    """What keeps faults from being injected here, None where nothing does."""
    if shutil.which("strace") is not None:
        probe = ["strace", "-f", "-qq", "-e", "trace=none", "-e", "inject=fsync:error=EIO", "true"]
        if subprocess.run(probe, capture_output=True, check=False, timeout=30).returncode == 0:
            return None
    return "needs strace, and permission to ptrace: install it, or allow CAP_SYS_PTRACE"


def require_strace() -> None:
    """Skip the test where faults cannot be injected."""
    if missing := strace_missing():
        pytest.skip(missing)


def injector(fault: str) -> tuple[str, ...]:
    """A wrapper of `ServerProcess` that injects `fault` (`fdatasync:signal=KILL:when=3`) from the start on."""
    calls = fault.partition(":")[0]
    # -D leaves the process its id.
    command = ["strace", "-D", "-f", "-qq", "-o", "/dev/null"]
    return (*command, "-e", f"trace={calls}", "-e", f"inject={fault}")


@contextmanager
def injecting(process: ServerProcess, fault: str) -> Iterator[None]:
    """Inject `fault` into a running process while the context lasts."""
    with injecting_into(process.pid, fault):
        yield


@contextmanager
def injecting_into(pid: int, fault: str) -> Iterator[None]:
    """The same for any process, by its id."""
    calls = fault.partition(":")[0]
    with _attached(pid, "-e", f"trace={calls}", "-e", f"inject={fault}", "-o", "/dev/null"):
        yield


@contextmanager
def counting(pid: int, calls: str, log: Path) -> Iterator[None]:
    """Write a line to `log` for each of `calls` that a process makes, its thread first.

    The process has to end within the context: only then is the log whole.
    """
    with _attached(pid, "-e", f"trace={calls}", "-e", "signal=none", "-o", str(log)) as tracer:
        yield
        tracer.wait(DEADLINE_S)


@contextmanager
def _attached(pid: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryFile() as said:
        tracer = subprocess.Popen(["strace", "-f", *options, "-p", str(pid)], stderr=said)

        def attached() -> bool:
            said.seek(0)
            return b" attached" in said.read()

        try:
            wait_until(attached, "strace is attached")
            yield tracer
        finally:
            tracer.terminate()
            tracer.wait()
