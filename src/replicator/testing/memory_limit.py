"""A bound on the memory of a process under test, held by the kernel: past it the process does not survive.

The first that the machine grants is taken: a control group (version 1 or 2; wants root), which bounds what is
resident, page cache included; or `RLIMIT_AS`, which bounds what is mapped, and so leaves a process less.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_GROUPS_V1 = Path("/sys/fs/cgroup/memory")
_GROUPS_V2 = Path("/sys/fs/cgroup")
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """`kind` says which bound it is; `wrapper` is the command that starts a process within it."""

    kind: str
    wrapper: tuple[str, ...]


@contextmanager
def memory_limit(bytes_max: int) -> Iterator[MemoryLimit | None]:
    """A bound of `bytes_max`, or None where the machine grants none. Its processes have to end before it."""
    for root, file, kind in (
        (_GROUPS_V1, "memory.limit_in_bytes", "control group, version 1"),
        (_GROUPS_V2, "memory.max", "control group, version 2"),
    ):
        group = _make_group(root, file, bytes_max)
        if group is not None:
            try:
                yield MemoryLimit(kind=kind, wrapper=_within_group(group))
            finally:
                group.rmdir()
            return
    yield _address_limit(bytes_max)


def _make_group(root: Path, file: str, bytes_max: int) -> Path | None:
    group = root / f"replicator-test-{os.getpid()}-{next(_NUMBERS)}"
    try:
        group.mkdir()
    except OSError:
        return None  # no such hierarchy, or no right to it
    try:
        (group / file).write_text(str(bytes_max))
        subprocess.run([*_within_group(group), "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        group.rmdir()
        return None
    return group


def _within_group(group: Path) -> tuple[str, ...]:
    return ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"))


def _address_limit(bytes_max: int) -> MemoryLimit | None:
    wrapper = ("sh", "-c", 'ulimit -v "$0" && exec "$@"', str(bytes_max // 1024))
    if shutil.which("sh") is None or subprocess.run([*wrapper, "true"], check=False).returncode:
        return None
    return MemoryLimit(kind="RLIMIT_AS", wrapper=wrapper)
