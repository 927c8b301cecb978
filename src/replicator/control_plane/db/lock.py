"""One process per database file."""

from __future__ import annotations

import fcntl
import os

from replicator.kernel.errors import Conflict


class ProcessLock:
    """A lock on the file at `path`, which also holds the owner's process id. Freed when the process ends.

    Raises:
        Conflict: another process has it.
    """

    def __init__(self, path: str, *, guarded: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(self._descriptor, 20).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise Conflict(
                f"another control plane (process {owner or 'unknown'}) uses {guarded}; "
                "stop it, or choose another folder with --data-dir"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process in."""
        os.close(self._descriptor)
