"""Much at once for a node under load: long bodies, many bodies, many objects. Over `http.client`, in threads."""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

TIMEOUT_S = 120.0
_BLOCK_BYTES = 1024 * 1024
_LENGTH = re.compile(rb"content-length: (\d+)\r\n(?:.+\r\n)*\r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """How a PUT was answered; `retry_after` is the header, None where there is none."""

    status: int
    retry_after: str | None


def put_blocks(base_url: str, object_id: str, blocks: Iterable[bytes | memoryview], *, size: int) -> Stored:
    """One object of `size` bytes. An answer that comes before the end of the body is an answer too."""
    with _connected(base_url) as connection:
        connection.putrequest("PUT", f"/objects/{object_id}")
        connection.putheader("Content-Length", str(size))
        connection.endheaders()
        with suppress(BrokenPipeError, ConnectionResetError):
            for block in blocks:
                connection.send(block)
        answer = connection.getresponse()
        answer.read()
        return Stored(status=answer.status, retry_after=answer.headers["Retry-After"])


def get_digest(base_url: str, object_id: str) -> bytes | None:
    """SHA-256 of an object as it is downloaded, None where there is none; raises where it is cut short."""
    whole, view = hashlib.sha256(), memoryview(bytearray(_BLOCK_BYTES))
    with _connected(base_url) as connection:
        connection.request("GET", f"/objects/{object_id}")
        answer = connection.getresponse()
        while count := answer.readinto(view):
            whole.update(view[:count])
        if answer.status == http.client.NOT_FOUND:
            return None
        assert answer.status == http.client.OK, f"{object_id} is answered with {answer.status}"
        assert not answer.length, f"{object_id} ends {answer.length} bytes early"
        return whole.digest()


def put_each(base_url: str, object_ids: Sequence[str], *, connections: int) -> None:
    """An object of a few bytes for each id; raises `AssertionError` unless every one is stored.

    By hand, because a proper client would take longer for a request than the node.
    """
    url = urlsplit(base_url)

    def put_some(start: int) -> None:
        with socket.create_connection((url.hostname, url.port), TIMEOUT_S) as connection:
            for object_id in object_ids[start::connections]:
                body = object_id.encode()
                head = f"PUT /objects/{object_id} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)
                answer = _read_answer(connection)
                assert answer.startswith(b"HTTP/1.1 201"), f"{object_id} is answered with {answer!r}"

    with ThreadPoolExecutor(connections) as threads:
        list(threads.map(put_some, range(connections)))


def _read_answer(connection: socket.socket) -> bytes:
    answer = b""
    while not (length := _LENGTH.search(answer)) or len(answer) < length.end() + int(length[1]):
        received = connection.recv(_BLOCK_BYTES)
        assert received, "the node closed the connection instead of answering"
        answer += received
    return answer


@contextmanager
def _connected(base_url: str) -> Iterator[http.client.HTTPConnection]:
    url = urlsplit(base_url)
    assert url.hostname is not None
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=TIMEOUT_S)
    try:
        yield connection
    finally:
        connection.close()
