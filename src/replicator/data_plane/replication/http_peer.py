"""The `Peer` over HTTP: blocking sockets and reused buffers, because that is what moves the most bytes.

A reader thread fills one buffer while the caller verifies and stores another. Silence is bounded by the
socket's timeout, trickling by a least rate, and length by what was asked for.
"""

from __future__ import annotations

import http.client
import io
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

from replicator.data_plane.replication.framing import FrameTaker
from replicator.data_plane.replication.ports import Delivery, Offer
from replicator.data_plane.replication.refusals import refusal_of
from replicator.data_plane.replication.timed_socket import TimedSocket, connect
from replicator.kernel.clock import Clock
from replicator.kernel.digest import Digest
from replicator.kernel.errors import (
    BrokenPeer,
    Corrupt,
    InvalidRequest,
    ReplicatorError,
    Unavailable,
)
from replicator.kernel.manifest import PAGE_BYTES_MAX, ROOT_BYTES_MAX, ChunkRef, Manifest, decode_manifest
from replicator.kernel.names import ContentType, NodeName, ObjectId
from replicator.kernel.version import VersionId
from replicator.wire import frames, manifests
from replicator.wire.frames import FRAME_BYTES

BLOCK_BYTES = 1024 * 1024
BUFFERS = 3
RATE_MIN_BYTES_PER_S = 16 * 1024
_PROBLEM_BYTES_MAX = 64 * 1024


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
        self._socket: TimedSocket | None = None
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
                content_type = ContentType.parse(response.getheader(manifests.CONTENT_TYPE_HEADER) or "")
                node = NodeName.parse(response.getheader(manifests.NODE_HEADER) or "")
            except (InvalidRequest, Corrupt) as error:
                raise BrokenPeer(f"{self._url} sent no valid manifest: {error.message}") from error
        return Offer(version, manifest, content_type, node)

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
            self._allow(length)
            yield from self._receive(response, length, FrameTaker(refs), max(ref.length for ref in refs))

    def close(self) -> None:
        """See `Peer.close`."""
        self._closed = True
        connected = self._socket
        if connected is not None:
            connected.shut()

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
        carried = b""
        try:
            while length and taker.refusal is None:
                buffer = free.get()
                if buffer is None:
                    return
                start = len(carried)
                buffer[:start] = carried
                block = memoryview(buffer)[: start + length]
                end, broken = self._read_block(response, block, start)
                length -= end - start
                chunks, used = taker.take(block[:end])
                carried = bytes(block[used:end])
                filled.put((Delivery(chunks, end - start), buffer))
                if broken is not None and taker.refusal is None:
                    raise broken
            if taker.refusal is not None:
                raise taker.refusal
            if carried or not taker.done:
                raise BrokenPeer(f"{self._url} ended its chunk stream in the middle of a frame")
            filled.put(None)
        except ReplicatorError as error:
            filled.put(error)

    def _read_block(
        self, response: http.client.HTTPResponse, block: memoryview, end: int
    ) -> tuple[int, Unavailable | None]:
        """Fill `block` from `end` on; (where it now ends, why that is not its end).

        What came before a break counts: it may hold whole chunks, or say why nothing more follows.
        """
        while end < len(block):
            try:
                end += self._read_some(response, block[end:])
            except Unavailable as error:
                return end, error
        return end, None

    def _read_some(self, response: http.client.HTTPResponse, view: memoryview) -> int:
        reader = response.fp
        with self._translated():
            # It is None once the consumer has dropped the connection.
            count = reader.readinto1(view) if isinstance(reader, io.BufferedReader) else 0
        if count == 0:
            raise self._cut_short()
        return count

    def _read_short(self, response: http.client.HTTPResponse, bytes_max: int) -> bytes:
        length = response.length
        if length is None or length > bytes_max:
            raise BrokenPeer(f"{self._url} announces {length} bytes where at most {bytes_max} can be right")
        self._allow(length)
        data = bytearray(length)
        end = 0
        while end < length:
            end += self._read_some(response, memoryview(data)[end:])
        return bytes(data)

    def _allow(self, length: int) -> None:
        """Give the next `length` bytes the time they need at the least rate."""
        assert self._socket is not None
        seconds = self._timeout_s + length / RATE_MIN_BYTES_PER_S
        self._socket.deadline_s = self._clock.monotonic_s() + seconds

    @contextmanager
    def _exchange(
        self, method: str, path: str, *, body: bytes | None = None, accept: str = "*/*"
    ) -> Iterator[http.client.HTTPResponse]:
        """A 200 answer, its body unread. A body that is not read to its end costs the connection."""
        response = self._request(method, self._prefix + path, body, accept)
        try:
            if response.status != http.client.OK:
                with self._translated():
                    said = response.read(_PROBLEM_BYTES_MAX)
                raise refusal_of(self._url, response.status, said)
            yield response
        except BaseException:
            self._drop()
            raise
        finally:
            response.close()

    def _request(self, method: str, path: str, body: bytes | None, accept: str) -> http.client.HTTPResponse:
        if self._connection is not None and self._connection.sock is None:
            # The peer wanted to close behind its last answer.
            self._drop()
        reused = self._connection is not None
        connection = self._connection or self._connect()
        try:
            return self._ask(connection, method, path, body, accept)
        except ReplicatorError as error:
            self._drop()
            # A peer may close an idle connection at any time; only a fresh one says something about it.
            if not reused or self._closed or not isinstance(error, Unavailable):
                raise
        return self._request(method, path, body, accept)

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, accept: str
    ) -> http.client.HTTPResponse:
        connected = self._socket
        assert connected is not None
        try:
            with self._translated():
                connection.request(method, path, body, {"Accept": accept, "Accept-Encoding": "identity"})
                self._allow(0)
                response = connection.getresponse()
        except BrokenPeer as error:
            if connected.ended:
                raise self._cut_short() from error
            raise
        if connected.ended:
            response.close()
            raise self._cut_short()
        return response

    def _cut_short(self) -> Unavailable:
        return Unavailable(f"{self._url} closed the connection in the middle of its answer")

    def _connect(self) -> http.client.HTTPConnection:
        if self._closed:
            raise Unavailable("the pull was stopped")
        self._socket = connect(
            self._host, self._port, tls=self._tls, timeout_s=self._timeout_s, clock=self._clock
        )
        self._connection = http.client.HTTPConnection(self._host, self._port)
        self._connection.auto_open = 0
        self._connection.sock = self._socket
        if self._closed:
            self._socket.shut()
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        connected, self._socket = self._socket, None
        if connected is not None:
            connected.shut()
        if connection is not None:
            connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise Unavailable(
                f"{self._url} was silent for {self._timeout_s:g} s, or sent less than "
                f"{RATE_MIN_BYTES_PER_S} bytes a second"
            ) from error
        except (OSError, http.client.RemoteDisconnected, http.client.IncompleteRead) as error:
            raise Unavailable(f"the connection to {self._url} broke: {error}") from error
        except (http.client.HTTPException, ValueError) as error:
            raise BrokenPeer(f"{self._url} does not speak HTTP as expected: {error!r}") from error
