"""The control plane as one ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI

from replicator import __version__
from replicator.control_plane.api import jobs, nodes, operations, sessions
from replicator.control_plane.api.services import Services
from replicator.runtime.bodies import BoundedBodies
from replicator.runtime.problems import PROBLEM_RESPONSES, install_problem_handlers

BODY_BYTES_MAX = 1024 * 1024
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_TAGS = [
    {"name": "nodes", "description": "The storage nodes that are known."},
    {"name": "jobs", "description": "What users ask for, carried out durably."},
    {"name": "sessions", "description": "What nodes say to the control plane, by long polls."},
    {"name": "operations", "description": "Health and metrics."},
]


def create_app(services: Services | None, *, lifespan: Lifespan) -> FastAPI:
    """The application, which needs its services by the first request; `lifespan` brackets its life."""
    app = FastAPI(
        title="Replicator control plane",
        summary="Registers nodes and runs durable replication jobs between them.",
        version=__version__,
        openapi_tags=_TAGS,
        responses=PROBLEM_RESPONSES,
        lifespan=lifespan,
    )
    app.state.services = services
    install_problem_handlers(app)
    app.add_middleware(BoundedBodies, bytes_max=BODY_BYTES_MAX)
    app.include_router(nodes.router)
    app.include_router(jobs.router)
    app.include_router(sessions.router)
    app.include_router(operations.router)
    return app
