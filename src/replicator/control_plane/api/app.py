"""The control plane as one ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI

from replicator import __version__
from replicator.control_plane.api import (
    dead_letters,
    explain,
    job_events,
    job_objects,
    jobs,
    limits,
    nodes,
    operations,
    sessions,
    tasks,
)
from replicator.control_plane.api.services import Services
from replicator.runtime.bodies import BoundedBodies
from replicator.runtime.problems import PROBLEM_RESPONSES, install_problem_handlers

BODY_BYTES_MAX = 1024 * 1024
SESSION_BODY_BYTES_MAX = 8 * 1024 * 1024
"""Results of batches and surveys name many objects."""
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_TAGS = [
    {"name": "nodes", "description": "The storage nodes that are known."},
    {"name": "jobs", "description": "What users ask for, carried out durably."},
    {"name": "tasks", "description": "The parts of jobs, and each try of them."},
    {"name": "explain", "description": "Why something is in its state, and what would change it."},
    {
        "name": "limits",
        "description": "Bytes a second and tasks at a time, of nodes and of links between them.",
    },
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
    app.add_middleware(
        BoundedBodies, bytes_max=BODY_BYTES_MAX, bytes_max_below={"/sessions": SESSION_BODY_BYTES_MAX}
    )
    for routes in (
        nodes,
        limits,
        jobs,
        job_objects,
        job_events,
        tasks,
        dead_letters,
        explain,
        sessions,
        operations,
    ):
        app.include_router(routes.router)
    return app
