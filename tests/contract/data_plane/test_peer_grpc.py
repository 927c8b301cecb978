"""The peer over gRPC keeps the promises of `Peer`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from replicator.data_plane.replication.grpc_peer import GrpcPeer
from replicator.data_plane.replication.ports import Peer
from replicator.data_plane.replication.serving import Serving
from replicator.runtime.clock import SystemClock
from replicator.testing.peer_contract import PeerContract
from replicator.testing.peer_source import Connect
from replicator.testing.processes import HOST
from replicator.testing.remote_peer_contract import TIMEOUT_S, Listen, OpenPort, RemotePeerContract
from replicator.testing.rpc_source import rpc_source


class TestGrpcPeer(PeerContract):
    @pytest.fixture
    def connect(self) -> Iterator[Connect]:
        with ExitStack() as stack:

            def open_peer(serving: Serving) -> Peer:
                url = stack.enter_context(rpc_source(serving)).url
                peer = GrpcPeer(url, timeout_s=30.0, clock=SystemClock())
                stack.callback(peer.close)
                return peer

            yield open_peer


class TestGrpcPeerOfAnySource(RemotePeerContract):
    @pytest.fixture
    def listen(self) -> Iterator[Listen]:
        with ExitStack() as stack:
            yield lambda serving: stack.enter_context(rpc_source(serving)).port

    @pytest.fixture
    def open_peer(self) -> Iterator[OpenPort]:
        with ExitStack() as stack:

            def open_peer(port: int) -> Peer:
                peer = GrpcPeer(f"http://{HOST}:{port}", timeout_s=TIMEOUT_S, clock=SystemClock())
                stack.callback(peer.close)
                return peer

            yield open_peer
