"""Faults in system calls, by `strace`: calls that fail, or at which the process is killed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest

from replicator.testing.processes import ServerProcess
from replicator.testing.waiting import wait_until


@cache
def _works() -> bool:
    if shutil.which("strace") is None:
        return False
    probe = ["strace", "-f", "-qq", "-e", "trace=none", "-e", "inject=fsync:error=EIO", "true"]
    return subprocess.run(probe, capture_output=True, check=False, timeout=30).returncode == 0


def require_strace() -> None:
    """Skip the test where faults cannot be injected."""
    if not _works():
        pytest.skip("needs strace, and permission to ptrace: install it, or allow CAP_SYS_PTRACE")


def injector(fault: str) -> tuple[str, ...]:
    """A wrapper of `ServerProcess` that injects `fault` (`fdatasync:signal=KILL:when=3`) from the start on."""
    calls = fault.partition(":")[0]
    # -D leaves the process its id.
    command = ["strace", "-D", "-f", "-qq", "-o", "/dev/null"]
    return (*command, "-e", f"trace={calls}", "-e", f"inject={fault}")


@contextmanager
def injecting(process: ServerProcess, fault: str) -> Iterator[None]:
    """Inject `fault` into a running process while the context lasts."""
    calls = fault.partition(":")[0]
    command = ["strace", "-f", "-e", f"trace={calls}", "-e", f"inject={fault}", "-o", "/dev/null"]
    with tempfile.TemporaryFile() as said:
        tracer = subprocess.Popen([*command, "-p", str(process.pid)], stderr=said)

        def attached() -> bool:
            said.seek(0)
            return b" attached" in said.read()

        try:
            wait_until(attached, "strace is attached")
            yield
        finally:
            tracer.terminate()
            tracer.wait()
