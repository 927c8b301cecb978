"""What a pull hears from a source over HTTP."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from replicator.data_plane.replication.http_peer import HttpPeer
from replicator.kernel.errors import BrokenPeer
from replicator.kernel.names import ObjectId
from replicator.runtime.clock import SystemClock
from replicator.testing.lying_source import LyingSource, forge
from replicator.testing.waiting import DEADLINE_S


def test_an_offer_that_names_no_node_is_refused() -> None:
    with (
        LyingSource() as source,
        closing(HttpPeer(source.url, timeout_s=DEADLINE_S, clock=SystemClock())) as peer,
    ):
        source.show("a", replace(forge([b"x"]), node=""))
        with pytest.raises(BrokenPeer, match="node name"):
            peer.offer(ObjectId("a"))
