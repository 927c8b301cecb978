"""What the routes call, handed to them by the application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from replicator.control_plane.api.paging import Paging
from replicator.control_plane.metrics import Metrics
from replicator.control_plane.ports import Database
from replicator.control_plane.services.dead_letters import DeadLetters
from replicator.control_plane.services.events import Events
from replicator.control_plane.services.explain import Explain
from replicator.control_plane.services.jobs import Jobs
from replicator.control_plane.services.limits import Limits
from replicator.control_plane.services.link import Link
from replicator.control_plane.services.objects import Objects
from replicator.control_plane.services.registry import Registry
from replicator.control_plane.services.replicas import Replicas
from replicator.control_plane.services.tasks import Tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All that the API does goes through one of these."""

    registry: Registry
    jobs: Jobs
    tasks: Tasks
    dead_letters: DeadLetters
    objects: Objects
    explain: Explain
    events: Events
    limits: Limits
    link: Link
    replicas: Replicas
    database: Database
    metrics: Metrics
    paging: Paging


async def services_of(request: Request) -> Services:
    """The services of the application that answers `request`."""
    # Asynchronous, for FastAPI asks functions that are not in a thread.
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


Given = Annotated[Services, Depends(services_of)]
