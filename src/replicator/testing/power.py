"""A disk whose power can be cut: ext4 in an image file, shut down so that only what was synced is left.

`EXT4IOC_SHUTDOWN` makes every later call fail with EIO and throws away what only the page cache held. The
journal then holds what a disk would hold after a power cut: with `log_flushed`, also the transaction under
way. What was synced before is on the image. Mounting again replays the journal, as after a real power cut.

Two things differ from a real power cut. The machine goes on, so a sync that is under way at that moment may
return success although nothing was kept (seen on Linux 6.18: about 1 cut in 15). Whoever watches must take no
acknowledgement for one that came after the cut had begun, as nobody hears from a machine without power. And
some losses it cannot show: writes that a disk reorders or loses inside its own cache, and names that were not synced
though the file was, because ext4 writes both in one transaction.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Self

MEBIBYTE = 1024 * 1024
IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
LOGFLUSH, NOLOGFLUSH = 1, 2
_COMMAND_SECONDS_MAX = 60.0


class DiskError(Exception):
    """A command that makes, mounts or unmounts a disk failed; the message is its own."""


class LoopDisk:
    """A file system of its own, mounted at `path` while the context lasts.

    Args:
        folder: gets the image and the mount point. After an error the image stays, as evidence.
    """

    def __init__(self, folder: Path, *, size_bytes: int) -> None:
        self.path = folder / "mounted"
        self._image = folder / "disk.ext4"
        self._size_bytes = size_bytes
        self._is_mounted = False

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True)
        with self._image.open("wb") as image:
            image.truncate(self._size_bytes)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))
        self.mount()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._is_mounted:
            self.unmount()
        if kind is None:
            self._image.unlink(missing_ok=True)

    def mount(self) -> None:
        """Mount it; after a power cut this replays the journal."""
        _run("mount", "-o", "loop", str(self._image), str(self.path))
        self._is_mounted = True

    def unmount(self) -> None:
        """Unmount it; whoever had files there must be gone."""
        _run("umount", str(self.path))
        self._is_mounted = False

    def cut_power(self, *, log_flushed: bool = False) -> None:
        """Every call on the disk fails from now on, and what was not synced is gone; `mount` is next."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = LOGFLUSH if log_flushed else NOLOGFLUSH
            fcntl.ioctl(descriptor, IOC_SHUTDOWN, struct.pack("I", flags))
        finally:
            os.close(descriptor)

    def remount(self) -> None:
        """Power is back."""
        self.unmount()
        self.mount()


@cache
def power_cuts_missing() -> str | None:
    """What keeps power cuts from being caused here, None where nothing does."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "needs root on Linux, to mount a loop device"
    if missing := [command for command in ("mkfs.ext4", "mount", "umount") if not shutil.which(command)]:
        return f"needs {', '.join(missing)}: install e2fsprogs and util-linux"
    with tempfile.TemporaryDirectory() as folder:
        try:
            with LoopDisk(Path(folder), size_bytes=16 * MEBIBYTE) as disk:
                disk.cut_power()
        except (DiskError, OSError) as error:
            return f"needs loop devices, and ext4 that can be shut down: {error}"
    return None


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False, timeout=_COMMAND_SECONDS_MAX)
    if done.returncode != 0:
        raise DiskError(f"{command[0]} failed: {done.stderr.decode(errors='replace').strip()}")
