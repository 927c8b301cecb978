"""A fault at the Nth call that a process makes to change files, counted over all its threads.

The calls are those that `data_plane.storage.files` and its neighbours make through `os`. What RocksDB calls is
not seen here; `testing.tracing` reaches that.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import signal
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from unittest import mock

from replicator.testing.power import IOC_SHUTDOWN, NOLOGFLUSH

CALLS = (
    "pwritev", "pwrite", "fdatasync", "fsync", "ftruncate", "truncate", "unlink", "rename", "replace", "link",
    "mkdir", "rmdir", "posix_fallocate", "copy_file_range", "open",
)  # fmt: skip
Mode = Literal["kill", "tear", "power", "power, never synced", "EIO", "ENOSPC", "full"]


@dataclass(frozen=True, slots=True)
class CallFault:
    """What happens at call `number`, counted from 1; 0 for nothing.

    Attributes:
        mode: `kill` ends the process before the call; `tear` does after the first half of a write; `power`
            also cuts the power of the disk, and with `never synced` no sync before it has done anything; `EIO` and `ENOSPC` let this call fail, `full` this one and all that follow
            with ENOSPC.
        disk: folder on the disk whose power is cut.
    """

    mode: Mode
    number: int
    disk: str = ""


class Calls:
    """Counts calls and lets the fault strike. `install` begins; there is no way back in this process."""

    def __init__(self, fault: CallFault, on_strike: Callable[[str], None]) -> None:
        self.count = 0
        self._fault = fault
        self._on_strike = on_strike
        self._lock = threading.Lock()

    def install(self) -> None:
        """Watch every call of this process from now on."""
        for name in CALLS:
            mock.patch.object(os, name, self._watched(name, getattr(os, name))).start()

    def _watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def watched(*args: Any, **named: Any) -> Any:
            if name == "open" and not args[1] & os.O_CREAT:
                return call(*args, **named)
            with self._lock:
                self.count += 1
                strikes = self._strikes(self.count)
            if strikes:
                self._strike(name, call, args)
            if self._fault.mode == "power, never synced" and name in ("fdatasync", "fsync"):
                return None
            return call(*args, **named)

        return watched

    def _strikes(self, count: int) -> bool:
        if self._fault.mode == "full":
            return 0 < self._fault.number <= count
        return count == self._fault.number

    def _strike(self, name: str, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._on_strike(name)
        match self._fault.mode:
            case "EIO":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            case "ENOSPC":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            case "full":
                # What frees space works on a full disk.
                if name not in ("unlink", "ftruncate", "truncate", "rmdir"):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return
            case "tear" if name == "pwritev":
                data = b"".join(bytes(buffer) for buffer in args[1])
                call(args[0], [data[: len(data) // 2]], args[2])
            case "power" | "power, never synced":
                descriptor = os.open(self._fault.disk, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.ioctl(descriptor, IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        os.kill(os.getpid(), signal.SIGKILL)
