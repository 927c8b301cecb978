"""What a scenario works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster import Cluster
from benchmarks.options import Options
from benchmarks.payload import Body, Payload
from benchmarks.places import Address
from benchmarks.streamer import Streamer
from replicator.kernel.errors import Corrupt


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A running cluster, the bytes to give it, how much of what, and where to say what is going on."""

    options: Options
    cluster: Cluster
    payload: Payload
    streamer: Streamer
    folder: Path
    say: Callable[[str], None]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Of the nodes, the destination last."""
        return tuple(node.address for node in self.cluster.nodes)

    def require_same(self, address: Address, path: str, body: Body) -> None:
        """Download `path` from the node at `address`; raises `Corrupt` unless it holds `body`."""
        if self.streamer.sha256(address, path, body.size) != self.payload.sha256(body):
            raise Corrupt(f"the node at {address.url} returned other bytes for {path}")
