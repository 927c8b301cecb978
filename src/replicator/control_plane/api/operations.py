"""/health, /ready, /metrics"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, ConfigDict, Field

from replicator.control_plane.api.services import Given
from replicator.control_plane.metrics import Population
from replicator.control_plane.ports import Unit
from replicator.runtime.metrics import expose
from replicator.wire.replicas import ReplicasView


class Health(BaseModel):
    """The process is up."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ok"}})

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """The database answers, and its schema is the one of this release."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ready", "schema_revision": "0001"}})

    status: Literal["ready"] = "ready"
    schema_revision: str = Field(description="Revision of the database's schema.")


router = APIRouter(tags=["operations"])


@router.get("/health", summary="Is the process up?")
async def health() -> Health:
    """Always `ok`, without looking at anything."""
    return Health()


@router.get("/ready", summary="Can it do its work?")
async def ready(services: Given) -> Ready:
    """503 while the database does not answer, and once the process is about to end: a proxy asks another replica."""
    return Ready(schema_revision=await services.replicas.check())


@router.get("/replicas", summary="Who does what?")
async def replicas(services: Given) -> ReplicasView:
    """Which replica holds which duty, since when and until when, and which have been seen within a day."""
    return await services.replicas.view()


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"description": "Text in OpenMetrics or Prometheus form.", "content": {"text/plain": {}}}
    },
)
async def show_metrics(services: Given, accept: Annotated[str, Header()] = "") -> Response:
    """OpenMetrics where `Accept` asks for it."""
    population = await services.database.read(_population)
    population = replace(
        population, event_streams=services.events.streams, duties_held=await services.replicas.duties_held()
    )
    services.metrics.set_population(population)
    body, content_type = expose(services.metrics.registry, accept)
    return Response(body, headers={"Content-Type": content_type})


def _population(unit: Unit) -> Population:
    return Population(
        jobs=unit.jobs.counts(),
        tasks=unit.tasks.live_counts(),
        nodes=unit.nodes.count(),
        nodes_connected=unit.nodes.connected_count(),
        ready_s=_age_s(unit, unit.tasks.oldest_ready_ms(connected=True)),
        ready_away_s=_age_s(unit, unit.tasks.oldest_ready_ms(connected=False)),
        ended_s=_age_s(unit, unit.history.first_end_to_move_ms()),
        history_s=_age_s(unit, unit.history.first_end_ms()),
    )


def _age_s(unit: Unit, since_ms: int | None) -> float:
    return 0 if since_ms is None else max(unit.now_ms - since_ms, 0) / 1000
