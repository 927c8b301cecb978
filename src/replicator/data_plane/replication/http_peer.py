"""The `Peer` over HTTP: blocking sockets and reused buffers, because that is what moves the most bytes.

A reader thread fills one buffer while the caller verifies and stores another. Silence is bounded by the
socket's timeout, trickling by a least rate, and length by what was asked for.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

from pydantic import ValidationError

from replicator.data_plane.replication.framing import FrameTaker
from replicator.data_plane.replication.ports import Delivery, Offer
from replicator.kernel.clock import Clock
from replicator.kernel.digest import Digest
from replicator.kernel.errors import (
    BrokenPeer,
    Corrupt,
    InvalidRequest,
    PeerUnreachable,
    ReplicatorError,
    Unavailable,
)
from replicator.kernel.manifest import PAGE_BYTES_MAX, ROOT_BYTES_MAX, ChunkRef, Manifest, decode_manifest
from replicator.kernel.names import ObjectId
from replicator.kernel.version import VersionId
from replicator.runtime.resolve import resolve
from replicator.wire import frames, manifests
from replicator.wire.frames import FRAME_BYTES
from replicator.wire.problem import Problem, error_of

BLOCK_BYTES = 1024 * 1024
BUFFERS = 3
RATE_MIN_BYTES_PER_S = 16 * 1024
_PROBLEM_BYTES_MAX = 64 * 1024
_CONTENT_TYPE_BYTES_MAX = 1024


class HttpPeer:
    """`Peer` at `base_url`.

    Args:
        timeout_s: to resolve and connect, and for each wait for the next bytes.
    """

    def __init__(self, base_url: str, *, timeout_s: float, clock: Clock) -> None:
        url = urlsplit(base_url)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise InvalidRequest(f"'{base_url}' is no address of a node")
        self._url = base_url
        self._host = url.hostname
        self._tls = url.scheme == "https"
        self._port = url.port or (443 if self._tls else 80)
        self._prefix = url.path.rstrip("/")
        self._timeout_s = timeout_s
        self._clock = clock
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False

    def offer(self, object_id: ObjectId) -> Offer:
        """See `Peer.offer`."""
        path = "/manifests/" + quote(object_id, safe="/")
        with self._exchange("GET", path, accept=manifests.MEDIA_TYPE) as response:
            encoded = self._read_short(response, ROOT_BYTES_MAX)
            try:
                digest = Digest.parse((response.getheader("ETag") or "").strip('"'))
                version = VersionId.parse(response.getheader(manifests.VERSION_HEADER) or "")
                manifest = decode_manifest(encoded, digest)
            except (InvalidRequest, Corrupt) as error:
                raise BrokenPeer(f"{self._url} sent no valid manifest: {error.message}") from error
            content_type = response.getheader(manifests.CONTENT_TYPE_HEADER) or "application/octet-stream"
        if len(content_type) > _CONTENT_TYPE_BYTES_MAX or not content_type.isascii():
            raise BrokenPeer(f"{self._url} sent an impossible content type")
        return Offer(version, manifest, content_type)

    def page(self, manifest: Manifest, index: int) -> bytes:
        """See `Peer.page`."""
        with self._exchange("GET", f"/pages/{manifest.digest}/{index}") as response:
            return self._read_short(response, PAGE_BYTES_MAX)

    def fetch(self, refs: Sequence[ChunkRef]) -> Iterator[Delivery]:
        """See `Peer.fetch`."""
        body = frames.encode_wanted([ref.digest for ref in refs])
        with self._exchange("POST", "/chunks/fetch", body=body) as response:
            length = response.length
            if length is None or length > sum(FRAME_BYTES + ref.length for ref in refs):
                raise BrokenPeer(
                    f"{self._url} announces {length} bytes of chunks, more than it was asked for"
                )
            yield from self._receive(response, length, FrameTaker(refs), max(ref.length for ref in refs))

    def close(self) -> None:
        """See `Peer.close`."""
        self._closed = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            _shut(connection.sock)

    def _receive(
        self, response: http.client.HTTPResponse, length: int, taker: FrameTaker, payload_bytes_max: int
    ) -> Iterator[Delivery]:
        size = BLOCK_BYTES + FRAME_BYTES + payload_bytes_max
        free: queue.SimpleQueue[bytearray | None] = queue.SimpleQueue()
        filled: queue.SimpleQueue[tuple[Delivery, bytearray] | ReplicatorError | None] = queue.SimpleQueue()
        for _ in range(BUFFERS):
            free.put(bytearray(size))
        reader = threading.Thread(
            target=self._fill, args=(response, length, taker, free, filled), name="pull-reader", daemon=True
        )
        reader.start()
        try:
            while (item := filled.get()) is not None:
                if isinstance(item, ReplicatorError):
                    raise item
                delivery, buffer = item
                yield delivery
                free.put(buffer)
        except BaseException:
            self._drop()
            raise
        finally:
            free.put(None)
            reader.join()

    def _fill(
        self,
        response: http.client.HTTPResponse,
        length: int,
        taker: FrameTaker,
        free: queue.SimpleQueue[bytearray | None],
        filled: queue.SimpleQueue[tuple[Delivery, bytearray] | ReplicatorError | None],
    ) -> None:
        """The reader thread: fill buffers, take frames, carry what is not whole into the next buffer."""
        deadline = self._clock.monotonic_s() + self._timeout_s + length / RATE_MIN_BYTES_PER_S
        carried = b""
        try:
            while length and taker.refusal is None:
                buffer = free.get()
                if buffer is None:
                    return
                buffer[: len(carried)] = carried
                end = len(carried)
                wanted = min(len(buffer), end + length)
                while end < wanted:
                    end += self._read_some(response, memoryview(buffer)[end:wanted], deadline)
                length -= end - len(carried)
                chunks, used = taker.take(memoryview(buffer)[:end])
                wire_bytes = end - len(carried)
                carried = bytes(buffer[used:end])
                filled.put((Delivery(chunks, wire_bytes), buffer))
            if taker.refusal is not None:
                raise taker.refusal
            if carried or not taker.done:
                raise BrokenPeer(f"{self._url} ended its chunk stream in the middle of a frame")
            filled.put(None)
        except ReplicatorError as error:
            filled.put(error)

    def _read_some(self, response: http.client.HTTPResponse, view: memoryview, deadline: float) -> int:
        with self._translated():
            assert isinstance(response.fp, io.BufferedReader)
            count = response.fp.readinto1(view)
        if count == 0:
            raise Unavailable(f"{self._url} closed the connection in the middle of its answer")
        if self._clock.monotonic_s() > deadline:
            raise Unavailable(f"{self._url} sends less than {RATE_MIN_BYTES_PER_S} bytes a second")
        return count

    def _read_short(self, response: http.client.HTTPResponse, bytes_max: int) -> bytes:
        data = bytearray(bytes_max + 1)
        deadline = self._clock.monotonic_s() + self._timeout_s + bytes_max / RATE_MIN_BYTES_PER_S
        wanted = bytes_max + 1 if response.length is None else response.length
        if wanted > bytes_max:
            raise BrokenPeer(f"{self._url} answers with more than {bytes_max} bytes")
        end = 0
        while end < wanted:
            end += self._read_some(response, memoryview(data)[end:wanted], deadline)
        return bytes(data[:end])

    @contextmanager
    def _exchange(
        self, method: str, path: str, *, body: bytes | None = None, accept: str = "*/*"
    ) -> Iterator[http.client.HTTPResponse]:
        """A 200 answer, its body unread. A body that is not read to its end costs the connection."""
        response = self._request(method, self._prefix + path, body, accept)
        try:
            if response.status != http.client.OK:
                raise self._refusal(response)
            yield response
        except BaseException:
            self._drop()
            raise
        response.close()

    def _request(self, method: str, path: str, body: bytes | None, accept: str) -> http.client.HTTPResponse:
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        reused = self._connection is not None
        connection = self._connection or self._connect()
        try:
            with self._translated():
                connection.request(method, path, body, headers)
                return connection.getresponse()
        except Unavailable:
            self._drop()
            # A peer may close an idle connection at any time; only a fresh one says something about it.
            if not reused or self._closed:
                raise
            return self._request(method, path, body, accept)

    def _connect(self) -> http.client.HTTPConnection:
        if self._closed:
            raise Unavailable("the pull was stopped")
        deadline = self._clock.monotonic_s() + self._timeout_s
        failure = PeerUnreachable(f"{self._url} has no address")
        for address in resolve(self._host, self._port, timeout_s=self._timeout_s):
            remaining = deadline - self._clock.monotonic_s()
            if remaining <= 0:
                break
            try:
                plain = socket.create_connection(address, remaining)
                plain.settimeout(self._timeout_s)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = http.client.HTTPConnection(self._host, self._port)
                connection.sock = self._secured(plain)
            except OSError as error:
                failure = PeerUnreachable(
                    f"{self._url} cannot be reached: {error.strerror or error}", url=self._url
                )
                continue
            self._connection = connection
            return connection
        raise failure

    def _secured(self, plain: socket.socket) -> socket.socket:
        if not self._tls:
            return plain
        return ssl.create_default_context().wrap_socket(plain, server_hostname=self._host)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.sock is not None:
                _shut(connection.sock)
            connection.close()

    def _refusal(self, response: http.client.HTTPResponse) -> ReplicatorError:
        with self._translated():
            body = response.read(_PROBLEM_BYTES_MAX)
        try:
            return error_of(Problem.model_validate_json(body))
        except ValidationError:
            return BrokenPeer(
                f"{self._url} answered {response.status} without saying why", status=response.status
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise Unavailable(f"{self._url} was silent for {self._timeout_s:g} s") from error
        except (OSError, http.client.RemoteDisconnected, http.client.IncompleteRead) as error:
            raise Unavailable(f"the connection to {self._url} broke: {error}") from error
        except (http.client.HTTPException, ValueError) as error:
            raise BrokenPeer(f"{self._url} does not speak HTTP as expected: {error!r}") from error


def _shut(sock: socket.socket) -> None:
    """Wake whoever waits on `sock`."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It is closed already.
        return
