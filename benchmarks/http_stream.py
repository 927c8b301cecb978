"""One large body over a raw socket in HTTP/1.1: as little client as possible between clock and server."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterable
from typing import Any

from benchmarks.places import Address
from replicator.kernel.errors import BrokenPeer

_READ_BYTES = 1 << 20
_HEAD_BYTES_MAX = 64 * 1024
_DEADLINE_SECONDS = 300.0


def put(address: Address, path: str, blocks: Iterable[memoryview], size: int) -> float:
    """Seconds from the first byte of the request to the last of the answer; raises `BrokenPeer`."""
    with _connect(address) as connection:
        pending = list(blocks)
        started = time.perf_counter()
        connection.sendall(_request("PUT", path, f"Content-Length: {size}\r\n"))
        for block in pending:
            connection.sendall(block)
        _read_answer(connection, bytearray(_READ_BYTES), None)
        return time.perf_counter() - started


def get(address: Address, path: str, size: int, *, hashed: bool = False) -> tuple[float, str]:
    """Seconds until the last of `size` bytes was here, and their SHA-256 if `hashed`, else ''."""
    digest = hashlib.sha256() if hashed else None
    buffer = bytearray(_READ_BYTES)
    with _connect(address) as connection:
        started = time.perf_counter()
        connection.sendall(_request("GET", path))
        received = _read_answer(connection, buffer, digest)
        seconds = time.perf_counter() - started
    if received != size:
        raise BrokenPeer(f"GET {path} brought {received} bytes instead of {size}")
    return seconds, digest.hexdigest() if digest else ""


def drain(address: Address, size: int) -> float:
    """Seconds from the first to the last of `size` bytes of whoever listens at `address`."""
    view = memoryview(bytearray(_READ_BYTES))
    with _connect(address) as connection:
        received = connection.recv_into(view)
        started = time.perf_counter()
        while received < size:
            received += _receive(connection, view)
        return time.perf_counter() - started


def _connect(address: Address) -> socket.socket:
    connection = socket.create_connection(address, _DEADLINE_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _request(method: str, path: str, more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: node\r\n{more}\r\n".encode()


def _read_answer(connection: socket.socket, buffer: bytearray, digest: Any) -> int:
    """Bytes of body received; each block is hashed where `digest` is one."""
    view = memoryview(buffer)
    filled, head_end = 0, -1
    while head_end < 0:
        if filled >= _HEAD_BYTES_MAX:
            raise BrokenPeer(f"an answer whose head is longer than {_HEAD_BYTES_MAX} bytes")
        filled += _receive(connection, view[filled:])
        head_end = buffer.find(b"\r\n\r\n", 0, filled)
    size = _body_size(bytes(view[:head_end]))
    received = filled - head_end - 4
    if digest:
        digest.update(view[head_end + 4 : filled])
    while received < size:
        count = _receive(connection, view)
        if digest:
            digest.update(view[:count])
        received += count
    return received


def _body_size(head: bytes) -> int:
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    if not status.split(" ")[1].startswith("2") or "content-length" not in fields:
        raise BrokenPeer(f"an unexpected answer: {status}")
    return int(fields["content-length"])


def _receive(connection: socket.socket, view: memoryview) -> int:
    count = connection.recv_into(view)
    if not count:
        raise BrokenPeer("the connection was closed in the middle of an answer")
    return count
