"""One process per database file."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from replicator.kernel.errors import Conflict

_BYTE = 2**62
"""Far beyond the end of any database, and beyond the bytes that SQLite locks."""
_TAKEN = frozenset({errno.EAGAIN, errno.EACCES})


class ProcessLock:
    """A lock on the file at `path`, which also holds the owner's process id. Freed when the process ends.

    The file `guarded` is locked besides, by itself and not by its name, for it may have several (hard links).

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
        try:
            self._file = _lock_itself(guarded)
        except BaseException:
            os.close(self._descriptor)
            raise
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process in. Nothing of this one may have the guarded file open any more."""
        os.close(self._file)
        os.close(self._descriptor)


def _lock_itself(guarded: str) -> int:
    """A descriptor of the file, which is made if it is missing, that holds a lock on it until it is closed."""
    descriptor = os.open(guarded, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    # Of the open file, not of the process: SQLite's own locks are the latter, and would be freed with it.
    wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
    except OSError as error:
        if error.errno not in _TAKEN:
            return descriptor  # a file system without such locks: the other one has to do
        # The descriptor stays open: to close it would free SQLite's locks, if it is this process that has the file.
        raise Conflict(
            f"another control plane uses {guarded} by another name (a hard link); stop it, or choose another file"
        ) from error
    return descriptor
