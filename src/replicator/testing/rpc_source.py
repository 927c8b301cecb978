"""A gRPC server in the same process, as a source of pulls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from replicator.data_plane.api.rpc import RpcServer
from replicator.data_plane.api.stall import Patience
from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.serving import Serving
from replicator.runtime.clock import SystemClock
from replicator.runtime.server import bind
from replicator.testing.processes import HOST


@dataclass(frozen=True, kw_only=True)
class RpcSource:
    """The server, and what it counts and keeps to."""

    server: RpcServer
    metrics: NodeMetrics
    pacer: Pacer
    port: int

    @property
    def url(self) -> str:
        """As a node gives it."""
        return f"http://{HOST}:{self.port}"

    @property
    def address(self) -> str:
        """As gRPC wants it."""
        return f"{HOST}:{self.port}"


@contextmanager
def rpc_source(
    serving: Serving, *, patience_s: float = 60.0, body_bytes_per_s_min: int = 0, requests_max: int = 8
) -> Iterator[RpcSource]:
    """Serves `serving` on a free port."""
    clock = SystemClock()
    metrics, pacer = NodeMetrics(), Pacer(clock)
    server = RpcServer(
        serving,
        patience=Patience(timeout_s=patience_s, body_bytes_per_s_min=body_bytes_per_s_min),
        requests_max=requests_max,
        pacer=pacer,
        metrics=metrics,
        clock=clock,
    )
    listener = bind(HOST, 0)
    port = int(listener.getsockname()[1])
    server.start(listener)
    try:
        yield RpcSource(server=server, metrics=metrics, pacer=pacer, port=port)
    finally:
        server.close()
