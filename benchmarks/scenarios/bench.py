"""What a scenario works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster import Cluster
from benchmarks.options import Options
from benchmarks.payload import Body, Payload
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
    def ports(self) -> tuple[int, int]:
        """Of the two nodes."""
        first, second = self.cluster.nodes
        return first.port, second.port

    def require_same(self, port: int, path: str, body: Body) -> None:
        """Download `path` from the node at `port`; raises `Corrupt` unless it holds `body`."""
        if self.streamer.sha256(port, path, body.size) != self.payload.sha256(body):
            raise Corrupt(f"the node on port {port} returned other bytes for {path}")
