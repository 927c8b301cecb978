"""The node's ASGI application: object and chunk paths bare, everything else by FastAPI."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from replicator.data_plane.api import chunks, objects
from replicator.data_plane.api.exchange import Exchange, Receive, Scope, Send
from replicator.data_plane.api.stall import StallWatch
from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.objects.blocks import BlockBudget
from replicator.data_plane.objects.service import ObjectService
from replicator.kernel.errors import Cancelled, Corrupt, RangeNotSatisfiable, ReplicatorError, Unavailable
from replicator.runtime.logging import get_logger

ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Handler = Callable[[Exchange], Awaitable[None]]

log = get_logger()


class NodeApp:
    """Dispatches by path, bounds what is in progress, and turns errors into responses.

    Args:
        rest: takes the lifespan and every path that is not below `/objects/` or `/chunks/`.
        requests_max: object and chunk requests in progress; one more is answered 503.
        stalls: watches the clients of these requests.
        budget: is told how many they are.
    """

    def __init__(
        self,
        rest: ASGIApp,
        *,
        metrics: NodeMetrics,
        requests_max: int,
        stalls: StallWatch,
        budget: BlockBudget,
    ) -> None:
        self._rest = rest
        self._metrics = metrics
        self._requests_max = requests_max
        self._stalls = stalls
        self._budget = budget
        self._handlers: list[tuple[bytes, Handler]] = []

    def attach(self, service: ObjectService) -> None:
        """Serve objects and chunks from now on; called when the event loop runs."""
        self._handlers = [
            (objects.PREFIX, objects.ObjectRoutes(service, self._metrics).handle),
            (chunks.PREFIX, chunks.ChunkRoutes(service).handle),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] == "http":
            path: bytes = scope["raw_path"]
            for prefix, handler in self._handlers:
                if path.startswith(prefix):
                    await self._answer(Exchange(scope, receive, send), handler)
                    return
        await self._rest(scope, receive, send)

    async def _answer(self, exchange: Exchange, handler: Handler) -> None:
        began = time.perf_counter()
        self._budget.requests += 1
        self._stalls.watched.add(exchange)
        try:
            if self._budget.requests > self._requests_max:
                raise Unavailable("this node is busy: too many requests in progress; retry shortly")
            await handler(exchange)
        except ReplicatorError as error:
            await self._report(exchange, error)
        except Exception as error:
            log.error("request.failed", path=exchange.path.decode("ascii", "replace"), exc_info=error)
            await self._report(exchange, ReplicatorError("an unexpected error; the log has the details"))
        finally:
            self._stalls.watched.discard(exchange)
            self._budget.requests -= 1
            self._metrics.observe(exchange.method, exchange.status, time.perf_counter() - began)
            await exchange.close()

    async def _report(self, exchange: Exchange, error: ReplicatorError) -> None:
        """Answer with the error, or, where the response has begun, leave it cut short."""
        if isinstance(error, Corrupt):
            self._metrics.corrupt_chunks.inc()
            log.error(
                "chunk.corrupt",
                path=exchange.path.decode("ascii", "replace"),
                reason=error.message,
                digest=error.data.get("digest"),
            )
        if isinstance(error, Cancelled):
            return
        if exchange.started:
            log.warning(
                "response.cut_short", path=exchange.path.decode("ascii", "replace"), reason=error.message
            )
            return
        sent = []
        if isinstance(error, RangeNotSatisfiable):
            sent.append((b"content-range", b"bytes */%d" % error.data["size"]))
        try:
            await exchange.refuse(error, sent)
        except ReplicatorError as gone:
            log.debug("response.untaken", reason=gone.message)
