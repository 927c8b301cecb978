"""The gRPC service: what it says about itself, what it refuses, and how it ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from replicator.data_plane.api.rpc import RpcServer
from replicator.data_plane.api.stall import Patience
from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.replication.grpc_peer import GrpcPeer
from replicator.data_plane.replication.messages.replies import Sent
from replicator.data_plane.replication.messages.requests import FetchAsked
from replicator.data_plane.replication.ports import Stretch
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.serving import Serving
from replicator.kernel.digest import Digest
from replicator.kernel.errors import InvalidRequest, Unavailable
from replicator.kernel.names import BucketName, NodeName
from replicator.runtime.clock import SystemClock
from replicator.testing.objects import named, noise
from replicator.testing.peer_source import NODE, SourceStore
from replicator.testing.peer_stream_contract import fetched, piece
from replicator.testing.processes import HOST
from replicator.testing.rpc_source import RpcSource, rpc_source
from replicator.testing.twisted_source import TwistedServing
from replicator.testing.waiting import DEADLINE_S, wait_until
from replicator.wire.pb import replication_pb2 as pb
from replicator.wire.pb.replication_pb2_grpc import ReplicationStub
from replicator.wire.replication import REQUEST_BYTES_MAX
from replicator.wire.rpc import REFUSAL_KEY, RPC_SERVICE
from replicator.wire.sessions import RateLimits

MEBIBYTE = 1024 * 1024
BUSY = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
def serving() -> Serving:
    return Serving(SourceStore(), node=NODE, clock=SystemClock())


@pytest.fixture
def source(serving: Serving) -> Iterator[RpcSource]:
    with rpc_source(serving) as source:
        yield source


@pytest.fixture
def channel(source: RpcSource) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(source.address) as channel:
        yield channel


def code_of(call: Callable[[], Any]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code()


def counted(source: RpcSource, method: str, status: str) -> float:
    labels = {"method": method, "status": status}
    return source.metrics.registry.get_sample_value("replicator_node_rpc_requests_total", labels) or 0.0


def endless(_: FetchAsked) -> Iterator[Sent]:
    payload = noise(1, 64 * 1024)
    while True:
        yield Sent(Digest.of(payload), 0, 0, payload)  # type: ignore[arg-type]


def test_any_client_of_the_proto_file_is_answered(channel: grpc.Channel, serving: Serving) -> None:
    serving.store.add(named(b"one"))
    stub = ReplicationStub(channel)  # type: ignore[no-untyped-call]
    assert stub.Hello(pb.HelloRequest(), timeout=DEADLINE_S).node == NODE
    wanted = pb.FetchRequest(pieces=[pb.Piece(chunks=Digest.of(b"one") + Digest.of(b"absent"))])
    (reply,) = stub.Fetch(wanted, timeout=DEADLINE_S)
    assert [(frame.digest, frame.status, frame.payload) for frame in reply.frames] == [
        (Digest.of(b"one"), pb.Frame.CHUNK, b"one"),
        (Digest.of(b"absent"), pb.Frame.MISSING, b""),
    ]


@pytest.mark.parametrize("service", ["", RPC_SERVICE])
def test_health_says_that_it_serves_until_it_stops(
    source: RpcSource, channel: grpc.Channel, service: str
) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    states = stub.Watch(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE_S)
    assert next(states).status == health_pb2.HealthCheckResponse.SERVING
    reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE_S)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    source.server.begin_stop()
    assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
    states.cancel()


def test_reflection_has_the_services_and_the_proto_file(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=RPC_SERVICE),
    ]
    listed, found = stub.ServerReflectionInfo(iter(asked), timeout=DEADLINE_S)
    names = {service.name for service in listed.list_services_response.service}
    assert {RPC_SERVICE, "grpc.health.v1.Health"} <= names
    file = FileDescriptorProto.FromString(found.file_descriptor_response.file_descriptor_proto[0])
    assert [service.name for service in file.service] == ["Replication"]


def test_a_refusal_has_a_status_for_everybody_and_a_code_for_nodes(
    source: RpcSource, channel: grpc.Channel
) -> None:
    stub = ReplicationStub(channel)  # type: ignore[no-untyped-call]
    with pytest.raises(grpc.RpcError) as caught:
        stub.List(pb.ListRequest(bucket="absent", limit=1), timeout=DEADLINE_S)
    call: Any = caught.value
    assert call.code() == grpc.StatusCode.NOT_FOUND
    assert "absent" in call.details()
    refusal = pb.Refusal.FromString(dict(call.trailing_metadata())[REFUSAL_KEY])
    assert refusal.code == "not-found"
    assert counted(source, "List", "not_found") == 1


def test_what_is_no_request_is_refused(source: RpcSource, channel: grpc.Channel) -> None:
    def ask(method: str, request: bytes) -> Callable[[], Any]:
        return lambda: channel.unary_unary(f"/{RPC_SERVICE}/{method}")(request, timeout=DEADLINE_S)

    assert code_of(ask("List", b"\xff")) == grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(ask("List", b"")) == grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(ask("Missing", bytes([10, 1, 0]))) == grpc.StatusCode.INVALID_ARGUMENT
    assert code_of(ask("Steal", b"")) == grpc.StatusCode.UNIMPLEMENTED
    oversized = ask("Missing", bytes(REQUEST_BYTES_MAX + 1))
    assert code_of(oversized) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert counted(source, "List", "invalid_argument") == 2


def test_one_request_more_than_may_be_in_progress_is_refused() -> None:
    serving = TwistedServing(SourceStore())
    serving.open.clear()
    with rpc_source(serving, requests_max=4) as source, grpc.insecure_channel(source.address) as channel:
        stub = ReplicationStub(channel)  # type: ignore[no-untyped-call]
        asked = pb.MissingRequest(digests=bytes(32))
        waiting = [stub.Missing.future(asked, timeout=DEADLINE_S) for _ in range(4)]
        try:
            assert serving.asked.wait(DEADLINE_S)
            refused = wait_until(
                lambda: _refused(lambda: stub.Missing(asked, timeout=0.5)), "a request is refused"
            )
            assert refused == grpc.StatusCode.RESOURCE_EXHAUSTED
        finally:
            serving.open.set()
        assert [call.result().missing for call in waiting] == [b"\x80"] * 4


def _refused(call: Callable[[], Any]) -> grpc.StatusCode | None:
    code = code_of(call)
    return None if code == grpc.StatusCode.DEADLINE_EXCEEDED else code


def test_a_client_that_takes_nothing_is_given_up_on() -> None:
    serving = TwistedServing(SourceStore())
    serving.frames = endless
    with rpc_source(serving, patience_s=0.2) as source, grpc.insecure_channel(source.address) as channel:
        stub = ReplicationStub(channel)  # type: ignore[no-untyped-call]
        request = pb.FetchRequest(pieces=[pb.Piece(chunks=bytes(32))])
        stream = stub.Fetch(request, timeout=DEADLINE_S)
        next(stream)
        wait_until(lambda: counted(source, "Fetch", "cancelled"), "the stream is given up")
        assert code_of(lambda: [None for _ in stream]) == grpc.StatusCode.CANCELLED


def test_a_client_that_takes_next_to_nothing_is_given_up_on() -> None:
    serving = TwistedServing(SourceStore())
    serving.frames = endless
    with (
        rpc_source(serving, patience_s=1.0, body_bytes_per_s_min=1024**4) as source,
        grpc.insecure_channel(source.address) as channel,
    ):
        stub = ReplicationStub(channel)  # type: ignore[no-untyped-call]
        request = pb.FetchRequest(pieces=[pb.Piece(chunks=bytes(32))])
        assert code_of(lambda: [None for _ in stub.Fetch(request, timeout=DEADLINE_S)]) == (
            grpc.StatusCode.UNAVAILABLE
        )


def test_calls_of_health_and_reflection_end_as_well(serving: Serving) -> None:
    with rpc_source(serving, patience_s=0.2) as source, grpc.insecure_channel(source.address) as channel:
        held = threading.Event()

        def held_open() -> Iterator[reflection_pb2.ServerReflectionRequest]:
            held.wait(DEADLINE_S)
            yield from ()

        reflecting = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            held_open(), timeout=DEADLINE_S
        )
        watching = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=DEADLINE_S
        )
        try:
            for call in (reflecting, watching):
                assert code_of(lambda call=call: [None for _ in call]) == grpc.StatusCode.CANCELLED  # type: ignore[misc]
        finally:
            held.set()


def test_stopping_ends_streams_and_leaves_no_thread() -> None:
    serving = TwistedServing(SourceStore())
    serving.frames = endless
    before = set(threading.enumerate())
    with rpc_source(serving) as source, grpc.insecure_channel(source.address) as channel:
        stub = ReplicationStub(channel)  # type: ignore[no-untyped-call]
        stream = stub.Fetch(pb.FetchRequest(pieces=[pb.Piece(chunks=bytes(32))]), timeout=DEADLINE_S)
        next(stream)
        source.server.close(grace_s=0.0)
        assert code_of(lambda: [None for _ in stream]) in {
            grpc.StatusCode.CANCELLED,
            grpc.StatusCode.UNAVAILABLE,
        }
        assert code_of(lambda: stub.Hello(pb.HelloRequest(), timeout=DEADLINE_S)) == (
            grpc.StatusCode.UNAVAILABLE
        )
    wait_until(
        lambda: not [each for each in set(threading.enumerate()) - before if each.name.startswith("rpc")],
        "its threads end",
    )


def test_a_port_that_another_took_meanwhile_is_named(serving: Serving) -> None:
    clock = SystemClock()
    server = RpcServer(
        serving,
        patience=Patience(timeout_s=1.0, body_bytes_per_s_min=0),
        requests_max=4,
        pacer=Pacer(clock),
        metrics=NodeMetrics(),
        clock=clock,
    )
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((HOST, 0))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(listener.getsockname())
        other.listen()
        with pytest.raises(InvalidRequest, match="--rpc-port"):
            server.start(listener)
    server.close()


def test_what_goes_out_keeps_to_the_limit(source: RpcSource, serving: Serving) -> None:
    payloads = [noise(seed, 1024) for seed in range(32)]
    serving.store.add(named(*payloads))
    source.pacer.set_limits(RateLimits(egress_bytes_per_s=1024))
    peer = GrpcPeer(source.url, timeout_s=1.0, clock=SystemClock())
    try:
        # It would take half a minute.
        with pytest.raises(Unavailable):
            fetched(peer, piece(*payloads))
        source.pacer.set_limits(RateLimits())
        assert len(fetched(peer, piece(*payloads))) == 32
    finally:
        source.pacer.set_limits(RateLimits())
        peer.close()


def test_calls_whose_clients_have_left_keep_neither_threads_nor_bandwidth() -> None:
    serving = TwistedServing(SourceStore())
    begun: list[object] = []

    def counted_endless(asked: Any) -> Any:
        begun.append(asked)
        return endless(asked)

    serving.frames = counted_endless
    asked = pb.FetchRequest(pieces=[pb.Piece(chunks=bytes(32))])
    with rpc_source(serving, requests_max=4) as source, grpc.insecure_channel(source.address) as channel:
        # A message of these would take a day.
        source.pacer.set_limits(RateLimits(egress_bytes_per_s=1))
        stub = ReplicationStub(channel)  # type: ignore[no-untyped-call]
        streams = [stub.Fetch(asked, timeout=DEADLINE_S) for _ in range(4)]
        wait_until(lambda: len(begun) == 4, "all are being answered")
        assert code_of(lambda: stub.Hello(pb.HelloRequest(), timeout=DEADLINE_S)) == BUSY
        for stream in streams:
            stream.cancel()
        wait_until(lambda: counted(source, "Fetch", "cancelled") == 4, "the calls end")
        source.pacer.set_limits(RateLimits(egress_bytes_per_s=1024))
        assert stub.Hello(pb.HelloRequest(), timeout=DEADLINE_S).node == NODE


def test_requests_are_counted(source: RpcSource, serving: Serving) -> None:
    peer = GrpcPeer(source.url, timeout_s=DEADLINE_S, clock=SystemClock())
    try:
        assert peer.hello() == NodeName(NODE)
        fetched(peer, piece(b"absent"))
        with pytest.raises(Exception, match="no bucket"):
            peer.listing(Stretch(bucket=BucketName("absent")), limit=1)
    finally:
        peer.close()
    assert counted(source, "Hello", "ok") == 1
    wait_until(lambda: counted(source, "Fetch", "ok"), "the fetch is counted")
    assert counted(source, "List", "not_found") == 1
    seconds = source.metrics.registry.get_sample_value(
        "replicator_node_rpc_request_seconds_count", {"method": "Hello"}
    )
    assert seconds == 1


def test_a_damaged_chunk_is_counted_and_said() -> None:
    store = SourceStore()
    store.add(named(b"one", b"two"))
    store.damaged.add(Digest.of(b"two"))
    with rpc_source(Serving(store, node=NODE, clock=SystemClock())) as source:
        peer = GrpcPeer(source.url, timeout_s=DEADLINE_S, clock=SystemClock())
        try:
            fetched(peer, piece(b"one", b"two"))
        finally:
            peer.close()
        found = source.metrics.registry.get_sample_value("replicator_node_corrupt_chunks_total")
        assert found == 1
