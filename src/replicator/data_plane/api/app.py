"""The node's ASGI application: objects, chunks and other nodes bare, everything else by FastAPI."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from replicator.data_plane.api import chunks, objects, replication
from replicator.data_plane.api.exchange import ASGIApp, Exchange, Receive, Scope, Send
from replicator.data_plane.api.headers import problem_headers
from replicator.data_plane.api.replication import ReplicationRoutes
from replicator.data_plane.api.stall import StallWatch
from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.objects.blocks import BlockBudget
from replicator.data_plane.objects.service import ObjectService
from replicator.kernel.errors import Cancelled, Corrupt, ReplicatorError, Unavailable
from replicator.runtime.logging import get_logger

Handler = Callable[[Exchange], Awaitable[None]]

log = get_logger()

# What an operator and a control plane ask of a node that has its hands full.
_ALWAYS_ANSWERED = (b"/health", b"/ready", b"/metrics", b"/control/", b"/store/")


class NodeApp:
    """Dispatches by path, bounds what is in progress, and turns errors into responses.

    Args:
        rest: takes the lifespan and every path that is not below `/objects/`, `/chunks/` or `/replication/`.
        requests_max: requests in progress; one more is answered 503, unless it is about operations.
        stalls: watches the clients of these requests.
        budget: gives those their turn that may answer with many bytes.
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
        self._requests = 0
        self._handlers: list[tuple[bytes, Handler]] = []

    def attach(self, service: ObjectService, other_nodes: ReplicationRoutes | None) -> None:
        """Serve objects, chunks and, unless that is None, other nodes from now on; called when the event loop runs."""
        self._handlers = [
            (objects.PREFIX, objects.ObjectRoutes(service, self._metrics).handle),
            (chunks.PREFIX, chunks.ChunkRoutes(service).handle),
        ]
        if other_nodes is not None:
            self._handlers.append((replication.PREFIX, other_nodes.handle))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        if scope["type"] != "http" or scope["raw_path"].startswith(_ALWAYS_ANSWERED):
            await self._rest(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, patience=self._stalls.patience)
        for prefix, handler in self._handlers:
            if exchange.path.startswith(prefix):
                await self._answer(exchange, handler)
                return
        await self._answer(exchange, self._answer_rest)

    async def _answer_rest(self, exchange: Exchange) -> None:
        async with self._budget.transfer(None):
            await exchange.delegate(self._rest)

    async def _answer(self, exchange: Exchange, handler: Handler) -> None:
        began = time.perf_counter()
        self._stalls.watched.add(exchange)
        try:
            await self._admit(exchange, handler)
        except ReplicatorError as error:
            await self._report(exchange, error)
        except Exception as error:
            log.error("request.failed", path=exchange.path.decode("ascii", "replace"), exc_info=error)
            await self._report(exchange, ReplicatorError("an unexpected error; the log has the details"))
        finally:
            self._stalls.watched.discard(exchange)
            self._metrics.observe(exchange.method, exchange.status, time.perf_counter() - began)
            await exchange.close()

    async def _admit(self, exchange: Exchange, handler: Handler) -> None:
        if self._requests >= self._requests_max:
            raise Unavailable("this node is busy: too many requests in progress; retry shortly")
        self._requests += 1
        try:
            await handler(exchange)
        finally:
            self._requests -= 1

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
        try:
            await exchange.refuse(error, problem_headers(error))
        except ReplicatorError as gone:
            log.debug("response.untaken", reason=gone.message)
