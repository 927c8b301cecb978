"""A gRPC connection to one node, with deadlines, that any thread may close.

Names are resolved here, so that it has a deadline, and gRPC is given the address that answered. Silence is found
twice. A connection on which nothing comes, not even the answer to a ping, is dead after twice the timeout, however
long an answer may take. A node that answers pings but not what it was asked has the time that the caller sets.
"""

from __future__ import annotations

import json
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import urlsplit

import grpc
import grpc.experimental

from replicator.data_plane.replication.ports import Traffic
from replicator.data_plane.replication.rpc_status import error_of
from replicator.kernel.clock import Clock
from replicator.kernel.errors import (
    Cancelled,
    InvalidRequest,
    PeerUnreachable,
    ReplicatorError,
    Unavailable,
)
from replicator.runtime.resolve import Address, resolve
from replicator.wire.frames import DELTA_BYTES_MAX
from replicator.wire.replication import REPLY_BYTES_MAX
from replicator.wire.rpc import MESSAGE_BYTES, METADATA_BYTES_MAX, RPC_SERVICE

MESSAGES_AHEAD = 2
WINDOW_BYTES = 4 * 1024 * 1024
MESSAGE_BYTES_MAX = MESSAGE_BYTES + DELTA_BYTES_MAX + 64 * 1024
"""Bound on a message of a stream: a full one to which a delta came last, and the heads of its frames."""

_HTTP2_FRAME_BYTES, _HTTP2_HEAD_BYTES, _PREFIX_BYTES, _HEADERS_BYTES = 16 * 1024, 9, 5, 300


class RpcChannel:
    """A connection to the node at `url`, opened when it is needed, and anew after it broke.

    One thread at a time, except for `close` and `traffic`.

    Args:
        timeout_s: to resolve and connect; without a byte for twice as long the connection counts as broken.
    """

    def __init__(self, url: str, *, timeout_s: float, clock: Clock) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
            raise InvalidRequest(f"'{url}' is no address of a node's gRPC service: give http://HOST:PORT")
        self.url = url
        self.timeout_s = timeout_s
        self._host = parts.hostname
        self._tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._tls else 80)
        self._clock = clock
        self._channel: grpc.Channel | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._received = 0
        self._sent = 0

    @property
    def traffic(self) -> Traffic:
        """Bytes so far: messages and their prefixes exactly, what HTTP/2 adds by estimate.

        That is 9 bytes for each 16 KiB of a message, and 300 each way for the headers of a call. Pings and
        window updates, some 20 bytes for each mebibyte, are left out, and so is TLS.
        """
        return Traffic(self._received, self._sent)

    def call(self, method: str, request: bytes, *, wait_s: float) -> bytes:
        """The reply to `request`, at most `REPLY_BYTES_MAX` long, within `wait_s`.

        Raises:
            PeerUnreachable, Unavailable, BrokenPeer, Cancelled: see `Peer`.
            ReplicatorError: as the node says.
        """
        channel = self._opened()
        self.count_sent(request)
        with self._translated():
            reply: bytes = channel.unary_unary(_path(method))(request, timeout=wait_s)
        self.count_received(reply)
        self._received += _HEADERS_BYTES
        return reply

    @contextmanager
    def stream(self, method: str, request: bytes) -> Iterator[RpcStream]:
        """The messages that answer `request`; what is not read is not wanted. Raises as `call`."""
        channel = self._opened()
        self.count_sent(request)
        with self._translated():
            call = channel.unary_stream(_path(method))(request)
        self._received += _HEADERS_BYTES
        with RpcStream(self, call) as stream, self._translated():
            yield stream

    def close(self) -> None:
        """Drop the connection for good; a thread that waits for it raises `Cancelled`. Any thread may call it."""
        with self._lock:
            self._closed = True
        self._drop()

    def count_sent(self, message: bytes) -> None:
        """A call with this message goes out."""
        self._sent += _on_the_wire(message) + _HEADERS_BYTES

    def count_received(self, message: bytes) -> int:
        """This message came; returns its bytes on the wire."""
        count = _on_the_wire(message)
        self._received += count
        return count

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as failed:
            error = self._error_of(failed)
            if isinstance(error, Unavailable):
                # Whatever it is, a fresh connection says more about it.
                self._drop()
            raise error from failed
        except ValueError as failed:
            # gRPC says so of a channel that was closed meanwhile.
            if not self._closed:
                raise
            raise _stopped() from failed

    def _error_of(self, failed: grpc.RpcError) -> ReplicatorError:
        return _stopped() if self._closed else error_of(self.url, failed)

    def _opened(self) -> grpc.Channel:
        if self._channel is None and not self._closed:
            channel = self._open(self._answering_address())
            with self._lock:
                self._channel = channel
        channel = self._channel
        if channel is None or self._closed:
            self._drop()
            raise _stopped()
        return channel

    def _answering_address(self) -> Address:
        """Tried by a connection that is dropped again: gRPC would not say for long that there is no answer."""
        where = f"{self._host}:{self._port}"
        failure = PeerUnreachable(f"{where} did not answer within {self.timeout_s:g} s", host=self._host)
        deadline_s = self._clock.monotonic_s() + self.timeout_s
        for address in resolve(self._host, self._port, timeout_s=self.timeout_s):
            remaining_s = deadline_s - self._clock.monotonic_s()
            if remaining_s <= 0:
                break
            try:
                socket.create_connection(address, remaining_s).close()
            except OSError as error:
                failure = PeerUnreachable(
                    f"{where} cannot be reached: {error.strerror or error}", host=self._host
                )
            else:
                return address
        raise failure

    def _open(self, address: Address) -> grpc.Channel:
        host, port = address
        target = f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
        options = [*_options(self.timeout_s), ("grpc.default_authority", f"{self._host}:{self._port}")]
        if not self._tls:
            return grpc.insecure_channel(target, options)
        options.append(("grpc.ssl_target_name_override", self._host))
        return grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)

    def _drop(self) -> None:
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()


class RpcStream:
    """The messages of one answer, read ahead by a thread: at most `MESSAGES_AHEAD` are held. A context manager."""

    def __init__(self, channel: RpcChannel, call: Any) -> None:
        self._channel = channel
        self._call = call
        self._room = threading.Semaphore(MESSAGES_AHEAD)
        self._arrived: queue.SimpleQueue[bytes | grpc.RpcError | None] = queue.SimpleQueue()
        self._ended = False
        self._reader = threading.Thread(target=self._read, name="rpc-reader", daemon=True)

    def __enter__(self) -> Self:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._call.cancel()
        self._room.release()
        self._reader.join()

    def next(self, *, wait_s: float) -> bytes | None:
        """The next message; None behind the last.

        Raises:
            Unavailable: none came within `wait_s`.
            grpc.RpcError: the answer did not end well.
        """
        try:
            arrived = self._arrived.get(timeout=wait_s)
        except queue.Empty:
            raise Unavailable(f"{self._channel.url} sent no chunks for {wait_s:.3g} s") from None
        self._room.release()
        if isinstance(arrived, grpc.RpcError):
            raise arrived
        return arrived

    def _read(self) -> None:
        try:
            self._room.acquire()
            for message in self._call:
                self._arrived.put(message)
                self._room.acquire()
                if self._ended:
                    return
            self._arrived.put(None)
        except grpc.RpcError as error:
            self._arrived.put(error)


def _options(timeout_s: float) -> list[tuple[str, Any]]:
    bounds = {
        "methodConfig": [
            {
                "name": [{"service": RPC_SERVICE, "method": "Fetch"}],
                "maxResponseMessageBytes": MESSAGE_BYTES_MAX,
            }
        ]
    }
    return [
        ("grpc.max_receive_message_length", REPLY_BYTES_MAX),
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.service_config", json.dumps(bounds)),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
        # Its pings would count as unanswered at a slow link, where they wait behind chunks; so the window is fixed.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
        # Each peer counts its own bytes, and a parallel stream is to have a connection of its own.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.keepalive_time_ms", int(timeout_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(timeout_s * 1000)),
        ("grpc.http2.ping_timeout_ms", int(timeout_s * 1000)),
        ("grpc.http2.max_pings_without_data", 0),
        (grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1),
    ]


def _path(method: str) -> str:
    return f"/{RPC_SERVICE}/{method}"


def _stopped() -> Cancelled:
    return Cancelled("the connection was closed on this side")


def _on_the_wire(message: bytes) -> int:
    length = len(message) + _PREFIX_BYTES
    return length + _HTTP2_HEAD_BYTES * -(-length // _HTTP2_FRAME_BYTES)
