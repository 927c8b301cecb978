"""Everything a node answers by FastAPI: listings, manifests, buckets, copies, upkeep, operations; and its OpenAPI."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI, Request, Response

from replicator import __version__
from replicator.data_plane.api.buckets import add_buckets
from replicator.data_plane.api.copies import add_copies
from replicator.data_plane.api.listings import add_listings
from replicator.data_plane.api.manifests import add_manifests
from replicator.data_plane.api.openapi import bare_paths
from replicator.data_plane.api.upkeep import add_upkeep
from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.ports import Store
from replicator.data_plane.upkeep import Upkeep
from replicator.runtime.bodies import BoundedBodies
from replicator.runtime.metrics import expose
from replicator.runtime.problems import PROBLEM_RESPONSES, install_problem_handlers
from replicator.wire.sessions import JoinReply, JoinRequest
from replicator.wire.status import Health

BODY_BYTES_MAX = 64 * 1024
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
Join = Callable[[JoinRequest], JoinReply]


def make_rest(
    *,
    name: str,
    store: Store,
    upkeep: Upkeep,
    metrics: NodeMetrics,
    join: Join,
    lifespan: Lifespan,
) -> FastAPI:
    """The application for node `name`.

    Args:
        upkeep: of `store`.
        join: opens a session with the control plane that a request names; may raise `Conflict`.
        lifespan: brackets the life of the process.
    """
    app = FastAPI(
        title=f"Replicator node {name}",
        version=__version__,
        summary="Objects as content-addressed chunks, durable when acknowledged, verified when read.",
        lifespan=lifespan,
        responses=PROBLEM_RESPONSES,
    )
    install_problem_handlers(app)
    app.add_middleware(BoundedBodies, bytes_max=BODY_BYTES_MAX)
    add_listings(app, store)
    add_manifests(app, store, name)
    add_buckets(app, store)
    add_copies(app, store)
    add_upkeep(app, upkeep)
    _add_operations(app, store, metrics, join, name)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        schema["paths"] |= bare_paths()
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _add_operations(app: FastAPI, store: Store, metrics: NodeMetrics, join: Join, name: str) -> None:
    @app.post("/control/join", tags=["operations"], summary="Join a control plane")
    async def join_control_plane(request: JoinRequest) -> JoinReply:
        """Open a session with a control plane. Sent by the control plane that this node is registered with."""
        return join(request)

    @app.get("/health", tags=["operations"], summary="Is the process up")
    async def health() -> Health:
        """Answers as long as the process does."""
        return Health(status="ok", name=name, release=__version__)

    @app.get("/ready", tags=["operations"], summary="Can it do its work")
    async def ready() -> Health:
        """503 once the store takes no more writes."""
        store.require_writable()
        return Health(status="ok", name=name, release=__version__)

    @app.get("/metrics", tags=["operations"], summary="Metrics", response_class=Response)
    def show_metrics(request: Request) -> Response:
        """Prometheus text, or OpenMetrics where it is asked for."""
        body, content_type = expose(metrics.registry, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})
