"""A proxy between a control plane and Postgres that loses what the test wants lost, just when it hurts.

It follows the client's messages (https://www.postgresql.org/docs/current/protocol-message-formats.html) as far
as is needed to see a COMMIT go by. It keeps no order between connections. TLS is not for it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Literal

import sqlalchemy as sa

_BLOCK = 65_536
_QUERY, _PARSE = b"Q", b"P"
When = Literal["before", "after"]


class PostgresProxy:
    """Listens on a free port of the loopback and forwards to a server on `port`.

    Attributes:
        delay_s: how long each message travels, in each direction; may be changed any time.
        commits_cut: how many connections were cut at a COMMIT.
    """

    def __init__(self, port: int, *, delay_s: float = 0.0) -> None:
        self._upstream = port
        self.delay_s = delay_s
        self.commits_cut = 0
        self._cut_next: When | None = None
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._closed = False
        self._pairs: set[_Pair] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="postgres-proxy", daemon=True)
        self._thread.start()

    def url(self, url: str) -> str:
        """`url`, by way of this proxy."""
        return sa.make_url(url).set(port=self.port).render_as_string(hide_password=False)

    def cut_next_commit(self, when: When) -> None:
        """The next COMMIT and its connection are lost `before` the server sees it, or `after` the server has
        carried it out but before its answer is back."""
        with self._lock:
            self._cut_next = when

    def cut(self) -> None:
        """End every connection."""
        for pair in list(self._pairs):
            pair.close()

    def refuse(self) -> None:
        """End every connection, and every new one at once, until `accept`."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        """Let connections in again."""
        self._refusing = False

    def hang(self) -> None:
        """Forward nothing more, but keep connections open and let new ones in, until `resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward again, first what came meanwhile."""
        self._flowing.set()

    def close(self) -> None:
        """End everything."""
        self._closed = True
        self._flowing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join()

    def take_cut(self) -> When | None:
        """Whether the COMMIT that goes by is to be cut, and when; one only."""
        with self._lock:
            when, self._cut_next = self._cut_next, None
            self.commits_cut += when is not None
            return when

    def wait(self, due_s: float) -> None:
        """Until something that set out for then may arrive."""
        if (left_s := due_s - time.monotonic()) > 0:
            time.sleep(left_s)
        self._flowing.wait()

    def forget(self, pair: _Pair) -> None:
        """It has ended."""
        self._pairs.discard(pair)

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._upstream))
            except OSError:
                client.close()
                continue
            self._pairs.add(_Pair(self, client, server))


class _Pair:
    """One connection: a thread for each direction."""

    def __init__(self, proxy: PostgresProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._deaf = False
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for pump in (self._to_server, self._to_client):
            threading.Thread(target=pump, name="postgres-proxy-pump", daemon=True).start()

    def close(self) -> None:
        """End both sides."""
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _to_server(self) -> None:
        messages = _Messages()
        with contextlib.suppress(OSError):
            while data := self._client.recv(_BLOCK):
                self._proxy.wait(time.monotonic() + self._proxy.delay_s)
                if not self._forward(messages.of(data)):
                    break
        self._end(self._client)

    def _forward(self, messages: Iterable[bytes]) -> bool:
        """Whether the connection goes on."""
        for message in messages:
            when = self._proxy.take_cut() if _is_commit(message) else None
            if when == "before":
                return False
            self._deaf = self._deaf or when == "after"
            self._server.sendall(message)
        return True

    def _to_client(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(_BLOCK):
                if self._deaf:
                    break  # this is the server's answer to the COMMIT
                self._proxy.wait(time.monotonic() + self._proxy.delay_s)
                self._client.sendall(data)
        self._end(self._server)

    def _end(self, read_from: socket.socket) -> None:
        self.close()
        read_from.close()
        self._proxy.forget(self)


class _Messages:
    """Cuts a client's stream into messages: the first has no letter."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False

    def of(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole now."""
        self._rest += data
        while True:
            letter = 1 if self._begun else 0
            if len(self._rest) < letter + 4:
                return
            size = letter + int.from_bytes(self._rest[letter : letter + 4], "big")
            if len(self._rest) < size:
                return
            message, self._rest = self._rest[:size], self._rest[size:]
            # Asking for TLS (code 80877103) has no letter either, and the real beginning follows.
            self._begun = self._begun or size != 8
            yield message


def _is_commit(message: bytes) -> bool:
    return message[:1] in {_QUERY, _PARSE} and b"COMMIT" in message and b"INSERT INTO writers" in message
