"""A control plane, a source and a destination on hosts of their own, between which the link can be cut."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Self

import httpx
import pytest

from replicator.testing.cluster import DESTINATION, SOURCE, PullCluster
from replicator.testing.netns import Direction, Host, Network, missing_for_networks
from replicator.testing.processes import ServerProcess, control_plane_process, free_port, node_process
from replicator.testing.pull_accounts import require_whole
from replicator.testing.waiting import wait_until

PEER_TIMEOUT_S = 1
_SIZE = 8 * 1024 * 1024
_SETTINGS = {
    "REPLICATOR_NODE_PEER_TIMEOUT_S": str(PEER_TIMEOUT_S),
    "REPLICATOR_NODE_LINK_OPEN_S_MAX": "0.5",
}


class LinkedCluster(PullCluster):
    """`PullCluster` on a `Network`, whose link takes the place of the gate. Skips the test where there is none.

    The control plane reaches both hosts whatever becomes of the link. The destination gives up a source that is
    silent for a second.
    """

    def __init__(self, folder: Path) -> None:
        if missing := missing_for_networks():
            pytest.skip(missing)
        super().__init__(folder)
        self.network = Network()

    def __enter__(self) -> Self:
        start = self._running.enter_context
        # It took its port when it was made, and nobody goes through it.
        start(self.gate)
        start(self.network)
        self.control_plane = start(control_plane_process(self._folder, host=self.network.hub))
        self.source = start(self._node(SOURCE, self.network.first))
        self.destination = start(self._node(DESTINATION, self.network.second))
        self._client = start(httpx.Client(trust_env=False, timeout=30))
        wait_until(self._all_connected, "both nodes have sessions")
        return self

    def limit(self, bytes_per_s: int | None) -> None:
        """Limit what goes over the link by the control plane; None takes the limit away."""
        url = f"{self.control_plane.url}/links/{SOURCE}/{DESTINATION}"
        if bytes_per_s is None:
            self._client.delete(url).raise_for_status()
        else:
            self._client.put(url, json={"bytes_per_second": bytes_per_s}).raise_for_status()

    def failed_attempts(self) -> int:
        """Attempts that the destination has given up so far."""
        return sum(event["outcome"] == "failed" for event in self.destination.events("task.ended"))

    def wait_until_stored(self, size: int) -> None:
        """Until the segments of the destination hold `size` bytes."""
        wait_until(lambda: self.stored_bytes() >= size, f"{size} bytes have arrived")

    def _node(self, name: str, host: Host) -> ServerProcess:
        port = free_port()
        return node_process(
            name,
            self._folder,
            control_plane=self.control_plane.url,
            base_url=f"http://{host.link_address}:{port}",
            settings=_SETTINGS,
            wrapper=host.wrapper,
            # Inside the namespace, where nothing but the test reaches it.
            arguments=("--host", "0.0.0.0"),
            port=port,
            host=host.address,
        )


def pull_over_a_cut(cluster: LinkedCluster, rng: random.Random, direction: Direction) -> None:
    """Cut the link in the middle of a pull, until the attempt is given up; then heal it, and check everything."""
    data = rng.randbytes(_SIZE)
    object_id = f"pulled over a cut {direction}"
    refs = cluster.put(object_id, data)
    stored, failed = cluster.stored_bytes(), cluster.failed_attempts()
    cluster.limit(_SIZE // 2)
    job = cluster.migrate(object_id)
    cluster.wait_until_stored(stored + rng.randrange(_SIZE // 16, _SIZE // 2))
    cluster.network.cut(direction)
    wait_until(lambda: cluster.failed_attempts() > failed, "the attempt is given up")
    assert cluster.read(object_id) is None
    assert cluster.job(job).status == "running"
    assert 0 < len(cluster.missing(refs)) < len(refs)
    cluster.limit(None)
    cluster.network.heal()
    ended = cluster.ended(job)
    assert cluster.read(object_id) == data
    require_whole(ended, refs, cuts=1)
