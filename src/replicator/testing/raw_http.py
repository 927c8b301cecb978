"""HTTP by hand, for requests that a proper client would not send, or not send so."""

from __future__ import annotations

import http.client
import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from typing import Self
from urllib.parse import urlsplit

TIMEOUT_S = 30.0


class RawConnection:
    """One connection on which bytes go out exactly as given. A context manager.

    Every wait raises `TimeoutError` after `TIMEOUT_S`.
    """

    def __init__(self, base_url: str) -> None:
        url = urlsplit(base_url)
        assert url.hostname is not None
        assert url.port is not None
        self._host = f"{url.hostname}:{url.port}"
        self._socket = socket.create_connection((url.hostname, url.port), TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close in good order."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send `data` as it is."""
        self._socket.sendall(data)

    def send_head(self, method: str, target: str, headers: Mapping[str, str] | None = None) -> None:
        """Send a request line and headers, Host included; `target` goes out as it is."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def answer(self, method: str = "GET") -> Answer:
        """The response to a request with `method`."""
        response = http.client.HTTPResponse(self._socket, method=method)
        try:
            response.begin()
            try:
                body, whole = response.read(), True
            except http.client.IncompleteRead as short:
                body, whole = short.partial, False
            return Answer(response.status, dict(response.getheaders()), body, whole)
        finally:
            response.close()

    def answer_continue(self) -> bool:
        """Whether an interim 100 (Continue) comes next; nothing behind it is read."""
        head = b""
        while not head.endswith(b"\r\n\r\n") and (byte := self._socket.recv(1)):
            head += byte
        return head.startswith(b"HTTP/1.1 100 ")

    def has_answer(self, *, within_s: float) -> bool:
        """Whether something to read comes within a time, the end included."""
        return bool(select.select([self._socket], [], [], within_s)[0])

    def read_to_end(self) -> bytes:
        """Everything until the other side closes."""
        return b"".join(iter(lambda: self._socket.recv(65_536), b""))

    def read_slowly(self, *, pause_s: float) -> Iterator[bytes]:
        """The same in small parts, with a pause before each."""
        while part := self._socket.recv(65_536):
            yield part
            time.sleep(pause_s)

    def is_ended(self) -> bool:
        """Read until the other side closes or resets; whether it did without sending anything more."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def reset(self) -> None:
        """Close so that the other side sees a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


class Answer:
    """A response; `whole` says whether the body came to its announced end."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes, whole: bool) -> None:
        self.status = status
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body
        self.whole = whole


def request(
    base_url: str,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """One request on a connection of its own; `target` goes out as it is."""
    sent = dict(headers or {})
    if body is not None:
        sent.setdefault("Content-Length", str(len(body)))
    with RawConnection(base_url) as connection:
        connection.send_head(method, target, sent)
        if body:
            connection.send(body)
        return connection.answer(method)
