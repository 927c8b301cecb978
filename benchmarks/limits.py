"""What this machine can do at best, measured in the same run and in the same round as the figures."""

from __future__ import annotations

import hashlib
import mmap
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.payload import Payload
from benchmarks.places import LOOPBACK, Address
from benchmarks.streamer import Streamer

_BLOCK_BYTES = 1 << 20
_DEADLINE_SECONDS = 300.0
_PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSeconds:
    """Seconds for the bytes of one object."""

    write_and_sync: float
    sha256: float
    sockets: float


def measure_stream_limits(payload: Payload, streamer: Streamer, folder: Path) -> StreamSeconds:
    """All three, for the object of `payload`; `folder` is on the disk that is measured."""
    return StreamSeconds(
        write_and_sync=write_and_sync(payload, payload.original().size, folder),
        sha256=hash_once(payload),
        sockets=send_through_sockets(payload, streamer),
    )


def write_and_sync(payload: Payload, size: int, folder: Path) -> float:
    """Write the first `size` bytes of the payload to a new file and make them durable."""
    path = folder / "write-and-sync"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        started = time.perf_counter()
        for block in payload.blocks(payload.original(size), _BLOCK_BYTES):
            _write_all(descriptor, block)
        _sync(descriptor)
        return time.perf_counter() - started
    finally:
        os.close(descriptor)
        path.unlink()


def write_groups_and_sync(payload: Payload, folder: Path, *, group: int, size: int, seconds: float) -> float:
    """Writes of `size` bytes a second where each `group` of them shares one sync."""
    path = folder / "write-groups-and-sync"
    block = payload.view[: group * size]
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    groups, started, elapsed = 0, time.perf_counter(), 0.0
    try:
        while elapsed < seconds:
            _write_all(descriptor, block)
            _sync(descriptor)
            groups += 1
            elapsed = time.perf_counter() - started
        return groups * group / elapsed
    finally:
        os.close(descriptor)
        path.unlink()


def hash_once(payload: Payload) -> float:
    """SHA-256 of the object on one core."""
    body = payload.original()
    digest = hashlib.sha256()
    started = time.perf_counter()
    for block in payload.blocks(body, _BLOCK_BYTES):
        digest.update(block)
    return time.perf_counter() - started


def send_through_sockets(payload: Payload, streamer: Streamer) -> float:
    """The object from one process to another, into one reused buffer."""
    body = payload.original()
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.settimeout(_DEADLINE_SECONDS)
        streamer.start_draining(Address(*listener.getsockname()), body.size)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(_DEADLINE_SECONDS)
            for block in payload.blocks(body, _BLOCK_BYTES):
                connection.sendall(block)
            return streamer.drained()


def warm_memory(byte_count: int) -> None:
    """Make the machine hand out `byte_count` bytes once.

    Memory that a virtual machine has never used costs up to 4 s/GiB at its first touch, in the page cache
    too; returned to the system, it is quick.
    """
    with mmap.mmap(-1, byte_count) as mapping:
        for start in range(0, byte_count, _PAGE_BYTES):
            mapping[start] = 1


def _write_all(descriptor: int, block: memoryview) -> None:
    written = 0
    while written < len(block):
        written += os.write(descriptor, block[written:])


def _sync(descriptor: int) -> None:
    getattr(os, "fdatasync", os.fsync)(descriptor)
