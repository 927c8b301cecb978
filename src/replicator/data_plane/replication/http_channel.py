"""An HTTP connection to one node, blocking and with deadlines, that any thread may close."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from replicator.data_plane.replication.http_body import Body, cut_short, translated
from replicator.data_plane.replication.ports import Traffic
from replicator.data_plane.replication.refusals import refusal_of
from replicator.data_plane.replication.timed_socket import Meter, TimedSocket, connect
from replicator.kernel.clock import Clock
from replicator.kernel.errors import BrokenPeer, Cancelled, InvalidRequest, ReplicatorError, Unavailable
from replicator.wire.replication import MEDIA_TYPE

_PROBLEM_BYTES_MAX = 64 * 1024
_HEADERS = {"Content-Type": MEDIA_TYPE, "Accept-Encoding": "identity"}


class HttpChannel:
    """A connection to the node at `url`, opened when it is needed, and anew after it broke.

    One thread at a time, except for `close` and `traffic`.

    Args:
        timeout_s: to resolve and connect, and for each wait for the next bytes.
    """

    def __init__(self, url: str, *, timeout_s: float, clock: Clock) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidRequest(f"'{url}' is no address of a node")
        self.url = url
        self._host = parts.hostname
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._clock = clock
        self._meter = Meter()
        self._connection: http.client.HTTPConnection | None = None
        self._socket: TimedSocket | None = None
        self._lock = threading.Lock()
        self._busy = False
        self._closed = False

    @property
    def traffic(self) -> Traffic:
        """Bytes so far, counted at the sockets; TLS is left out."""
        return Traffic(received=self._meter.received, sent=self._meter.sent)

    @contextmanager
    def post(
        self, path: str, message: bytes, *, answer_bytes_max: int, more_s: float = 0.0
    ) -> Iterator[Body]:
        """The body of a 200 answer, unread. One that is not read to its end costs the connection.

        Args:
            more_s: see `Body`.

        Raises:
            PeerUnreachable, Unavailable, BrokenPeer, Cancelled: see `Peer`.
            NotFound, Corrupt: as the node says.
        """
        body: Body | None = None
        with self._lock:
            self._busy = True
        try:
            response = self._request(self._prefix + path, message)
            try:
                body = self._body(response, answer_bytes_max, more_s)
                yield body
            finally:
                response.close()
        except ReplicatorError as error:
            if self._closed:
                raise Cancelled("the pull was stopped") from error
            raise
        finally:
            with self._lock:
                self._busy = False
                if self._closed or body is None or not body.ended:
                    self.drop()

    def drop(self) -> None:
        """Let go of the connection; the next request opens another."""
        connection, self._connection = self._connection, None
        connected, self._socket = self._socket, None
        if connected is not None:
            connected.shut()
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Drop the connection for good; a thread that waits for it raises `Cancelled`. Any thread may call it."""
        with self._lock:
            self._closed = True
            connected = self._socket
            if not self._busy:
                self.drop()
            elif connected is not None:
                connected.shut()

    def _body(self, response: http.client.HTTPResponse, bytes_max: int, more_s: float) -> Body:
        if response.status != http.client.OK:
            with translated(self.url, self._timeout_s):
                said = response.read(_PROBLEM_BYTES_MAX)
            retry_after = response.getheader("Retry-After")
            raise refusal_of(self.url, response.status, said, retry_after=retry_after)
        assert self._socket is not None
        return Body(
            response,
            self._socket,
            url=self.url,
            bytes_max=bytes_max,
            timeout_s=self._timeout_s,
            more_s=more_s,
            clock=self._clock,
        )

    def _request(self, path: str, message: bytes) -> http.client.HTTPResponse:
        if self._connection is not None and self._connection.sock is None:
            # The peer wanted to close behind its last answer.
            self.drop()
        reused = self._connection is not None
        connection = self._connection or self._connect()
        try:
            return self._ask(connection, path, message)
        except ReplicatorError as error:
            self.drop()
            # A peer may close an idle connection at any time; only a fresh one says something about it.
            if not reused or self._closed or not isinstance(error, Unavailable):
                raise
        return self._request(path, message)

    def _ask(
        self, connection: http.client.HTTPConnection, path: str, message: bytes
    ) -> http.client.HTTPResponse:
        connected = self._socket
        assert connected is not None
        try:
            with translated(self.url, self._timeout_s):
                connection.request("POST", path, message, _HEADERS)
                connected.deadline_s = self._clock.monotonic_s() + self._timeout_s
                response = connection.getresponse()
        except BrokenPeer as error:
            if connected.ended:
                raise cut_short(self.url) from error
            raise
        if connected.ended:
            response.close()
            raise cut_short(self.url)
        return response

    def _connect(self) -> http.client.HTTPConnection:
        if self._closed:
            raise Cancelled("the pull was stopped")
        self._socket = connect(
            self._host,
            self._port,
            tls=self._tls,
            timeout_s=self._timeout_s,
            clock=self._clock,
            meter=self._meter,
        )
        self._connection = http.client.HTTPConnection(self._host, self._port)
        self._connection.auto_open = 0
        self._connection.sock = self._socket
        if self._closed:
            self._socket.shut()
        return self._connection
