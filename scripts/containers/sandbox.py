"""Namespaces around the run, so that nothing it starts can outlive it or meet what else runs here.

The program starts itself a second time, as the first process of new network, mount and process namespaces.
When that process ends, however it ends, the kernel ends everything below it: engine, containers, mounts and
bridges. Ports 8000, 9001 and 9002 are free in there whatever is listening outside.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from containers.command import wait_until
from containers.machine import NAMESPACES

_CGROUPS = Path("/sys/fs/cgroup")
_TEARDOWN_TIMEOUT_S = 120.0
_TIDY_TIMEOUT_S = 10.0


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A fresh folder, removed with its cgroup of the same name on the way out."""
    folder = Path(tempfile.mkdtemp(prefix="replicator-e2e-"))
    try:
        yield folder
    finally:
        wait_until("cgroups are removed", lambda: _removed_cgroups(folder.name), timeout_s=_TIDY_TIMEOUT_S)
        shutil.rmtree(folder)


def run_inside(argv: Sequence[str], *, timeout_s: float) -> int:
    """Exit code of `argv`, run in namespaces of its own; it is ended if it outlives `timeout_s`."""
    process = subprocess.Popen(["unshare", *NAMESPACES, *argv], start_new_session=True)
    try:
        return process.wait(timeout_s)
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the inner process to tear down, and take its namespaces away if it does not."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_TEARDOWN_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(_TEARDOWN_TIMEOUT_S)


def _removed_cgroups(name: str) -> bool:
    for found in _cgroups(name):
        for folder, _, _ in os.walk(found, topdown=False):
            os.rmdir(folder)
    return True


def _cgroups(name: str) -> list[Path]:
    return [found for pattern in (name, f"*/{name}") for found in _CGROUPS.glob(pattern)]
