"""The peer in memory keeps the promises of `Peer`."""

from __future__ import annotations

import pytest

from replicator.testing.memory_peer import MemoryPeer
from replicator.testing.peer_contract import PeerContract
from replicator.testing.peer_source import Connect


class TestMemoryPeer(PeerContract):
    @pytest.fixture
    def connect(self) -> Connect:
        return MemoryPeer
