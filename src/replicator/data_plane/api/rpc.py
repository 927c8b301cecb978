"""The gRPC service of proto/replicator/v1, with health and reflection, on a port of its own.

A thread for each request in progress, because the store is read by blocking calls; one more than there are threads
is refused. A client that takes nothing, or next to nothing, is given up on, as over HTTP; so is whoever holds a
place with calls of health or reflection for as long.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from replicator.data_plane.api.rpc_calls import RpcCalls
from replicator.data_plane.api.rpc_watch import CallWatch
from replicator.data_plane.api.stall import Patience
from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.serving import Serving
from replicator.kernel.clock import Clock
from replicator.kernel.errors import InvalidRequest
from replicator.runtime.server import GRACE_SECONDS
from replicator.wire.replication import REQUEST_BYTES_MAX
from replicator.wire.rpc import METADATA_BYTES_MAX, RPC_SERVICE

IDLE_MS = 300_000
_STOP_SECONDS_MAX = GRACE_SECONDS + 5.0


class RpcServer:
    """Serves `serving` from `start` to `close`.

    Args:
        patience: with a client that takes chunks; the bound of a call of health or reflection.
        requests_max: requests in progress, and threads.
    """

    def __init__(
        self,
        serving: Serving,
        *,
        patience: Patience,
        requests_max: int,
        pacer: Pacer,
        metrics: NodeMetrics,
        clock: Clock,
    ) -> None:
        self._watch = CallWatch(timeout_s=patience.timeout_s, clock=clock)
        self._threads = ThreadPoolExecutor(requests_max, "rpc")
        self._health = health.HealthServicer()
        self._stopped: Any = None
        self._server = grpc.server(
            self._threads,
            interceptors=[_Bounded(self._watch)],
            maximum_concurrent_rpcs=requests_max,
            options=_OPTIONS,
        )
        calls = RpcCalls(
            serving, watch=self._watch, patience=patience, pacer=pacer, metrics=metrics, clock=clock
        )
        self._server.add_generic_rpc_handlers((calls.handlers(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            [RPC_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )

    def start(self, listener: socket.socket) -> None:
        """Serve where `listener` is bound. It only kept the port, since gRPC binds its own, and is closed.

        Raises:
            InvalidRequest: another process was quicker.
        """
        host, port = listener.getsockname()[:2]
        listener.close()
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise InvalidRequest(
                f"cannot listen on {address} for gRPC; choose another port with --rpc-port"
            ) from error
        self._health.set(RPC_SERVICE, health_pb2.HealthCheckResponse.SERVING)
        self._watch.start()
        self._server.start()

    def begin_stop(self, *, grace_s: float = GRACE_SECONDS) -> None:
        """Take no more calls; those in progress are ended after `grace_s`. Does not block; again does no harm."""
        if self._stopped is None:
            self._health.enter_graceful_shutdown()
            self._stopped = self._server.stop(grace_s)

    def close(self, *, grace_s: float = GRACE_SECONDS) -> None:
        """Stop, and wait until no call is in progress."""
        self.begin_stop(grace_s=grace_s)
        self._stopped.wait(_STOP_SECONDS_MAX)
        self._watch.stop()
        self._threads.shutdown(cancel_futures=True)


class _Bounded(grpc.ServerInterceptor):  # type: ignore[misc]
    """Limits how long a call of another service than ours may last."""

    def __init__(self, watch: CallWatch) -> None:
        self._watch = watch

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        handler = continuation(details)
        if handler is None or details.method.startswith(f"/{RPC_SERVICE}/"):
            return handler
        limited = {
            kind: self._limited(behaviour)
            for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
            if (behaviour := getattr(handler, kind)) is not None
        }
        return handler._replace(**limited)

    def _limited(self, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(behaviour)
        def call(request: Any, context: grpc.ServicerContext, *more: Any) -> Any:
            self._watch.limit(context)
            return behaviour(request, context, *more)

        return call


_OPTIONS = (
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAX),
    ("grpc.max_metadata_size", METADATA_BYTES_MAX),
    ("grpc.max_connection_idle_ms", IDLE_MS),
    # A port that another process has is taken, not shared.
    ("grpc.so_reuseport", 0),
    # A ping at a slow link waits behind chunks, and would count as unanswered.
    ("grpc.http2.bdp_probe", 0),
    # Clients ping to notice that a node is gone.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
)
