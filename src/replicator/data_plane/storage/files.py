"""Every call to the operating system that the store makes: the one seam where faults are injected.

Linux first. Where a call is missing the portable one of equal strength stands in: `F_FULLFSYNC` for
`fdatasync` on macOS, and nothing at all for `sync_file_range`, which only starts write-back early.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from replicator.kernel.errors import Conflict, QuotaExceeded, StoreFailed, Unavailable

if TYPE_CHECKING:
    from typing_extensions import Buffer

_IOV_MAX = 1024
_OUT_OF_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SYNC_FILE_RANGE_WRITE = 2
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CAN_READ_CACHED = hasattr(os, "RWF_NOWAIT")


def lock_folder(path: str) -> int:
    """Take the folder's lock file for this process; the descriptor holds it until it is closed.

    Raises:
        Conflict: another process has it.
    """
    descriptor = os.open(os.path.join(path, "LOCK"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise Conflict(
            f"the data folder '{path}' is in use by process {holder or '(unknown)'}; "
            "one process per folder: stop that one, or choose another --data-dir",
            path=path,
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def make_folder(path: str) -> None:
    """Make a folder, and those above it, where they are missing; the names of new ones are durable."""
    parent = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(parent):
        make_folder(parent)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return
    sync_folder(parent)


def open_file(path: str) -> int:
    """A read-write descriptor of a file that exists."""
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def create_file(path: str) -> int:
    """A read-write descriptor of a new file.

    Raises:
        QuotaExceeded: the file system has no room for another file.
        Unavailable: too many files are open just now.
        StoreFailed: any other failure.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise Unavailable("this node has too many files open; retry shortly") from error
        raise _failed("the making of a segment", error) from error


def write_at(descriptor: int, buffers: Sequence[Buffer], offset: int) -> None:
    """Write all of `buffers` one after the other from `offset` on.

    Raises:
        QuotaExceeded: the disk is full; some of the bytes may have been written.
        StoreFailed: any other failure.
    """
    views = [view for view in (memoryview(buffer).cast("B") for buffer in buffers) if len(view)]
    try:
        while views:
            written = os.pwritev(descriptor, views[:_IOV_MAX], offset)
            offset += written
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]
    except OSError as error:
        raise _failed("a write to a segment", error) from error


def truncate(descriptor: int, length: int) -> None:
    """Cut a file's tail off; raises `StoreFailed`."""
    try:
        os.ftruncate(descriptor, length)
    except OSError as error:
        raise _failed("the cutting of a segment", error) from error


def unlink(path: str) -> None:
    """Remove a name; raises `StoreFailed`."""
    try:
        os.unlink(path)
    except OSError as error:
        raise _failed("the removal of a segment", error) from error


def link(path: str, other: str) -> None:
    """Give the file at `path` the second name `other`.

    Raises:
        Unavailable: the file systems differ, or do not know second names.
    """
    try:
        os.link(path, other)
    except OSError as error:
        raise Unavailable(
            f"'{other}' cannot be linked to its segment: {error.strerror}; "
            "the backup folder must be on the disk of the data folder"
        ) from error


def fill(path: str, length: int) -> None:
    """Make the file at `path` take up `length` bytes of the disk.

    Raises:
        QuotaExceeded: there is no room.
        StoreFailed: any other failure.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_CREAT | os.O_TRUNC, 0o644)
    except OSError as error:
        raise _failed("the making of the ballast", error) from error
    try:
        write_at(descriptor, [bytes(length)], 0)
    finally:
        os.close(descriptor)


def read_at(descriptor: int, buffers: Sequence[Buffer], offset: int, *, wait: bool = True) -> int:
    """Fill `buffers` from `offset` on; returns how many bytes were there to read.

    Args:
        wait: False reads only what the page cache holds, and raises `BlockingIOError` where it does not,
            or where this system cannot tell.
    """
    if not wait and not _CAN_READ_CACHED:
        raise BlockingIOError
    flags = 0 if wait else os.RWF_NOWAIT
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    total = 0
    while views:
        try:
            count = os.preadv(descriptor, views[:_IOV_MAX], offset + total, flags)
        except OSError as error:
            if not wait and error.errno == errno.EOPNOTSUPP:
                raise BlockingIOError from error
            raise
        if count == 0:
            return total
        total += count
        while views and count >= len(views[0]):
            count -= len(views.pop(0))
        if count:
            views[0] = views[0][count:]
    return total


def sync_data(descriptor: int) -> None:
    """Make the file's bytes and length durable; returns only when they are.

    Raises:
        StoreFailed: they may not be, and asking again would not tell.
    """
    try:
        if hasattr(os, "fdatasync"):
            os.fdatasync(descriptor)
        else:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # type: ignore[attr-defined, unused-ignore]
    except OSError as error:
        raise StoreFailed(f"a sync of a segment failed: {error.strerror}; restart the node") from error


def sync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise StoreFailed(
            f"a sync of the folder '{path}' failed: {error.strerror}; restart the node"
        ) from error
    finally:
        os.close(descriptor)


def _find_sync_file_range() -> ctypes._NamedFuncPointer | None:
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
        function.restype = ctypes.c_int
    return function


_sync_file_range = _find_sync_file_range()


def start_write_back(descriptor: int, offset: int, length: int) -> None:
    """Let the kernel begin to write these bytes out, so that a later sync finds little left to do.

    Promises nothing and reports nothing: an error here comes back from `sync_data`.
    """
    if _sync_file_range is not None:
        _sync_file_range(descriptor, offset, length, _SYNC_FILE_RANGE_WRITE)


def start_reading(descriptor: int, offset: int, length: int) -> None:
    """Let the kernel begin to read these bytes, where it can, so that a later read does not wait for the disk."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_WILLNEED)


def forget_cached(descriptor: int, offset: int, length: int) -> None:
    """Let the kernel drop these bytes from its page cache, where it can: written ones that are durable only."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_DONTNEED)


def _find_renameat2() -> ctypes._NamedFuncPointer | None:
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
        function.restype = ctypes.c_int
    return function


_renameat2 = _find_renameat2()


def exchange(path: str, other: str) -> None:
    """Exchange two names at once, so that no moment lacks either of them; `sync_folder` makes it durable.

    Where the system cannot, `other` is missing for a moment, and what it was is at `path` with `.moved`.
    """
    if _renameat2 is not None:
        result = _renameat2(_AT_FDCWD, os.fsencode(path), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
        if result == 0:
            return
        error = ctypes.get_errno()
        if error not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(error, os.strerror(error), path)
    moved = f"{path}.moved"
    os.rename(other, moved)
    os.rename(path, other)
    os.rename(moved, path)


def free_bytes(path: str) -> int:
    """Bytes that an unprivileged process may still write to the file system of `path`.

    Raises:
        StoreFailed: the file system does not say.
    """
    try:
        stats = os.statvfs(path)
    except OSError as error:
        raise _failed("a look at the free space", error) from error
    return stats.f_bavail * stats.f_frsize


def total_bytes(path: str) -> int:
    """The size of the file system of `path`.

    Raises:
        StoreFailed: the file system does not say.
    """
    try:
        stats = os.statvfs(path)
    except OSError as error:
        raise _failed("a look at the size of the disk", error) from error
    return stats.f_blocks * stats.f_frsize


def _failed(what: str, error: OSError) -> QuotaExceeded | StoreFailed:
    if error.errno in _OUT_OF_SPACE:
        return QuotaExceeded(
            "no room on the disk of this node: free space, then retry", reason=str(error.strerror)
        )
    return StoreFailed(f"{what} failed: {error.strerror}; restart the node")
