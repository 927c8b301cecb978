"""The peer over HTTP keeps the promises of `Peer`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from replicator.data_plane.replication.http_peer import HttpPeer
from replicator.data_plane.replication.ports import Peer
from replicator.data_plane.replication.serving import Serving
from replicator.runtime.clock import SystemClock
from replicator.testing.http_source import http_source
from replicator.testing.peer_contract import PeerContract
from replicator.testing.peer_source import Connect
from replicator.testing.processes import HOST
from replicator.testing.remote_peer_contract import TIMEOUT_S, Listen, OpenPort, RemotePeerContract


class TestHttpPeer(PeerContract):
    @pytest.fixture
    def connect(self) -> Iterator[Connect]:
        with ExitStack() as stack:

            def open_peer(serving: Serving) -> Peer:
                port = stack.enter_context(http_source(serving))
                peer = HttpPeer(f"http://{HOST}:{port}", timeout_s=30.0, clock=SystemClock())
                stack.callback(peer.close)
                return peer

            yield open_peer


class TestHttpPeerOfAnySource(RemotePeerContract):
    @pytest.fixture
    def listen(self) -> Iterator[Listen]:
        with ExitStack() as stack:
            yield lambda serving: stack.enter_context(http_source(serving))

    @pytest.fixture
    def open_peer(self) -> Iterator[OpenPort]:
        with ExitStack() as stack:

            def open_peer(port: int) -> Peer:
                peer = HttpPeer(f"http://{HOST}:{port}", timeout_s=TIMEOUT_S, clock=SystemClock())
                stack.callback(peer.close)
                return peer

            yield open_peer
