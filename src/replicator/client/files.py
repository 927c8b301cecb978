"""Bodies from and to local files, a mebibyte at a time, so that memory does not grow with an object.

A download appears under its name only when it is complete and durable: it is written beside it under a
temporary name, synced, renamed, and the folder synced. Failure and cancellation remove what was written.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import ParamSpec

from replicator.client.node import BLOCK_BYTES
from replicator.kernel.errors import Conflict, InvalidRequest

Arguments = ParamSpec("Arguments")


def open_source(path: str) -> tuple[int, int | None]:
    """A descriptor to read from, and the length in bytes if `path` is a regular file.

    Raises:
        InvalidRequest: there is nothing readable there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidRequest(f"cannot read '{path}': {error.strerror}", path=path) from error
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        os.close(descriptor)
        raise InvalidRequest(f"cannot read '{path}': it is a folder; put a tar of it instead", path=path)
    return descriptor, status.st_size if stat.S_ISREG(status.st_mode) else None


async def blocks_from(descriptor: int) -> AsyncIterator[bytes]:
    """What can be read from `descriptor` until its end."""
    while block := await asyncio.to_thread(os.read, descriptor, BLOCK_BYTES):
        yield block


async def write_blocks(descriptor: int, blocks: AsyncIterator[bytes]) -> None:
    """Write all of `blocks` to `descriptor`; raises `OSError` as writing does."""
    async for block in blocks:
        await _in_thread(_write_all, descriptor, block)


def refuse_existing(path: str, *, overwrite: bool) -> None:
    """Raise `Conflict` if `path` is a file that must not be replaced, `InvalidRequest` if it has no folder."""
    folder = os.path.dirname(_resolved(path))
    if not os.path.isdir(folder):
        raise InvalidRequest(f"there is no folder '{folder}' to write to", path=path)
    if os.path.isfile(path) and not overwrite:
        raise Conflict(f"'{path}' exists; choose another name, or --force to replace it", path=path)


async def save(path: str, blocks: AsyncIterator[bytes]) -> None:
    """Write all of `blocks` to the file `path`, replacing it whole or not at all.

    What is there and is no regular file (a device, a pipe) is written to instead.

    Raises:
        OSError: the file system refused, for example because it is full.
    """
    target = _resolved(path)
    if not _is_replaceable(target):
        return await _write_into(target, blocks)
    temporary = os.path.join(os.path.dirname(target), f".replicator-{secrets.token_hex(8)}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        await write_blocks(descriptor, blocks)
        await _in_thread(_publish, descriptor, temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)


def _resolved(path: str) -> str:
    # Through links, so that what a link names is replaced and not the link.
    return os.path.realpath(path)


def _is_replaceable(target: str) -> bool:
    return os.path.isfile(target) or not os.path.exists(target)


async def _write_into(target: str, blocks: AsyncIterator[bytes]) -> None:
    descriptor = await asyncio.to_thread(os.open, target, os.O_WRONLY | os.O_CLOEXEC)
    try:
        await write_blocks(descriptor, blocks)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, block: bytes) -> None:
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _publish(descriptor: int, temporary: str, target: str) -> None:
    _sync(descriptor)
    os.rename(temporary, target)
    folder = os.open(os.path.dirname(target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(folder)
    finally:
        os.close(folder)


def _sync(descriptor: int) -> None:
    # macOS: its fsync leaves the bytes in the drive's cache.
    if hasattr(fcntl, "F_FULLFSYNC"):
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


async def _in_thread(
    function: Callable[Arguments, None], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> None:
    """Run `function` in a thread; a cancellation waits for it, for it uses a descriptor about to be closed."""
    running = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        running.exception()
        raise
