"""What a pull hears from a source over gRPC that sends something else than the protocol has."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from replicator.data_plane.replication.fetch_reply import encode_frames
from replicator.data_plane.replication.grpc_peer import GrpcPeer
from replicator.data_plane.replication.messages import replies
from replicator.data_plane.replication.messages.replies import Sent
from replicator.data_plane.replication.ports import Removal, Stretch
from replicator.data_plane.replication.rpc_channel import MESSAGE_BYTES_MAX, RpcChannel
from replicator.data_plane.replication.rpc_status import details_of, error_of, status_of
from replicator.kernel.digest import Digest
from replicator.kernel.errors import (
    BrokenPeer,
    Corrupt,
    Fenced,
    InvalidRequest,
    NotFound,
    PeerUnreachable,
    ReplicatorError,
    StoreFailed,
    Unavailable,
)
from replicator.kernel.names import DEFAULT_BUCKET, NodeName, ObjectId
from replicator.kernel.version import VersionId
from replicator.runtime.clock import SystemClock
from replicator.testing.objects import LongObject
from replicator.testing.peer_source import wanted
from replicator.testing.peer_stream_contract import fetched, piece
from replicator.testing.processes import HOST
from replicator.wire.frames import Codec, FrameStatus
from replicator.wire.replication import REPLY_BYTES_MAX
from replicator.wire.rpc import REFUSAL_KEY, RPC_SERVICE

ONE = Sent(Digest.of(b"one"), FrameStatus.CHUNK, Codec.PLAIN, b"one")
METHODS = ["Hello", "Buckets", "List", "Offers", "Page", "Missing", "Prove", "Remove"]
Serve = Callable[..., GrpcPeer]

ASKED: dict[str, Callable[[GrpcPeer], object]] = {
    "Hello": lambda peer: peer.hello(),
    "Buckets": lambda peer: peer.buckets("", 10),
    "List": lambda peer: peer.listing(Stretch(bucket=DEFAULT_BUCKET), limit=10),
    "Offers": lambda peer: peer.offers([wanted("a")], hold_s=1),
    "Page": lambda peer: peer.page(LongObject().manifest, 0),
    "Missing": lambda peer: peer.missing([ONE.digest]),
    "Prove": lambda peer: peer.prove([wanted("a")], size_bytes=1),
    "Remove": lambda peer: peer.remove(
        [Removal(DEFAULT_BUCKET, ObjectId("a"), VersionId(bytes(16)), ONE.digest)]
    ),
}


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Gives a peer of a server that answers with these very bytes."""
    with ExitStack() as stack:

        def start(reply: bytes = b"", stream: Callable[[], Iterator[bytes]] = lambda: iter(())) -> GrpcPeer:
            handlers = {name: grpc.unary_unary_rpc_method_handler(lambda *_: reply) for name in METHODS}
            handlers["Fetch"] = grpc.unary_stream_rpc_method_handler(lambda *_: stream())
            threads = stack.enter_context(ThreadPoolExecutor(2))
            server = grpc.server(threads, options=[("grpc.so_reuseport", 0)])
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(RPC_SERVICE, handlers),))
            port = server.add_insecure_port(f"{HOST}:0")
            server.start()
            stack.callback(lambda: server.stop(0).wait())
            peer = GrpcPeer(f"http://{HOST}:{port}", timeout_s=30.0, clock=SystemClock())
            stack.callback(peer.close)
            return peer

        yield start


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reply", [b"\xff", b"\x0a\x05no"], ids=["garbage", "cut short"])
def test_a_reply_that_is_none_is_broken(serve: Serve, method: str, reply: bytes) -> None:
    with pytest.raises(BrokenPeer):
        ASKED[method](serve(reply))


@pytest.mark.parametrize("method", [method for method in METHODS if method != "Buckets"])
def test_a_reply_without_anything_is_broken(serve: Serve, method: str) -> None:
    with pytest.raises(BrokenPeer):
        ASKED[method](serve(b""))


@pytest.mark.parametrize(("size_bytes", "hours"), [(1, 20), (2**40, 200)])
def test_a_proof_may_take_what_its_bytes_need(
    monkeypatch: pytest.MonkeyPatch, size_bytes: int, hours: int
) -> None:
    reply = replies.encode_prove(NodeName("source"), [ONE.digest]).SerializeToString()

    def call(_: RpcChannel, method: str, request: bytes, *, wait_s: float) -> bytes:
        if wait_s < hours * 3600:
            raise Unavailable(f"{method} takes longer")
        return reply

    monkeypatch.setattr(RpcChannel, "call", call)
    peer = GrpcPeer(f"http://{HOST}:1", timeout_s=1.0, clock=SystemClock())
    assert peer.prove([wanted("a")], size_bytes=size_bytes) == [ONE.digest]


def test_a_reply_that_is_too_long_is_broken(serve: Serve) -> None:
    peer = serve(bytes(REPLY_BYTES_MAX + 1))
    with pytest.raises(BrokenPeer):
        peer.hello()


@pytest.mark.parametrize(
    "stream",
    [
        lambda: iter([bytes(MESSAGE_BYTES_MAX + 1)]),
        lambda: itertools.repeat(b""),
        lambda: iter([b"\xff\xff"]),
        lambda: itertools.chain([encode_frames([ONE])], itertools.repeat(b"")),
        lambda: itertools.chain([encode_frames([ONE])], itertools.repeat(bytes(MESSAGE_BYTES_MAX))),
        lambda: iter([encode_frames([ONE])[:-1]]),
    ],
    ids=[
        "a message that is too long",
        "endless nothing",
        "garbage",
        "nothing behind the end",
        "anything behind the end",
        "a frame cut short",
    ],
)
def test_a_stream_that_is_none_is_broken(serve: Serve, stream: Callable[[], Iterator[bytes]]) -> None:
    peer = serve(stream=stream)
    with pytest.raises(BrokenPeer):
        fetched(peer, piece(b"one"))


def test_a_server_without_the_service_is_broken() -> None:
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        port = server.add_insecure_port(f"{HOST}:0")
        server.start()
        peer = GrpcPeer(f"http://{HOST}:{port}", timeout_s=30.0, clock=SystemClock())
        try:
            with pytest.raises(BrokenPeer, match="UNIMPLEMENTED"):
                peer.hello()
        finally:
            peer.close()
            server.stop(0).wait()


@pytest.mark.parametrize("url", ["ftp://host:1", "host:1", "http://", "http://host:1/path"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="give http://HOST:PORT"):
        GrpcPeer(url, timeout_s=1.0, clock=SystemClock())


def test_a_name_that_does_not_exist_is_unreachable() -> None:
    peer = GrpcPeer("http://no-such-name.invalid:9101", timeout_s=30.0, clock=SystemClock())
    with pytest.raises(PeerUnreachable):
        peer.hello()


class _Failed:
    def __init__(self, status: grpc.StatusCode, details: str, refusal: bytes | None = None) -> None:
        self._said = (status, details)
        self._metadata = () if refusal is None else ((REFUSAL_KEY, refusal),)

    def code(self) -> grpc.StatusCode:
        return self._said[0]

    def details(self) -> str:
        return self._said[1]

    def trailing_metadata(self) -> Any:
        return self._metadata


@pytest.mark.parametrize(
    ("status", "details", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", Unavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!", Unavailable),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "CLIENT: Received message larger than max (9 vs. 8)",
            BrokenPeer,
        ),
        (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", BrokenPeer),
        (grpc.StatusCode.UNAUTHENTICATED, "", BrokenPeer),
    ],
)
def test_what_grpc_itself_says(
    status: grpc.StatusCode, details: str, expected: type[ReplicatorError]
) -> None:
    assert type(error_of("http://node", _Failed(status, details))) is expected


def test_a_refusal_that_is_none_is_broken() -> None:
    failed = _Failed(grpc.StatusCode.NOT_FOUND, "", refusal=b"\xff")
    assert type(error_of("http://node", failed)) is BrokenPeer


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("x"), grpc.StatusCode.NOT_FOUND),
        (BrokenPeer("x"), grpc.StatusCode.DATA_LOSS),
        (Corrupt("x"), grpc.StatusCode.DATA_LOSS),
        (StoreFailed("x"), grpc.StatusCode.UNAVAILABLE),
        (Fenced("x"), grpc.StatusCode.ABORTED),
        (ReplicatorError("x"), grpc.StatusCode.INTERNAL),
    ],
)
def test_the_status_of_an_error(error: ReplicatorError, status: grpc.StatusCode) -> None:
    assert status_of(error) is status


def test_details_are_short_and_can_be_sent() -> None:
    assert details_of(NotFound("\udc80" + "x" * 10_000)).startswith("?xxx")
    assert len(details_of(NotFound("x" * 10_000))) == 500
