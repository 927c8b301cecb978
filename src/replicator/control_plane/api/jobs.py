"""/jobs"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response

from replicator.control_plane.api.paging import Cursor
from replicator.control_plane.api.services import Given
from replicator.wire.jobs import JobPage, JobStatus, JobView, MigrateRequest
from replicator.wire.sessions import INTEGER_MAX

JobId = Annotated[int, Path(ge=1, le=INTEGER_MAX, description="The job's number.", examples=[1])]
IdempotencyKey = Annotated[
    str | None,
    Header(
        description="The same key and request give the same job; the same key with another request is 409.",
        min_length=1,
        max_length=255,
        pattern=r"^[!-~]+$",
        examples=["5c0f6d0e-demo"],
    ),
]


router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.post(
    "/migrate",
    status_code=201,
    summary="Copy one object from one node to another",
    responses={
        201: {
            "description": "The job is created, durably. `Location` names it.",
            "headers": {"Location": {"schema": {"type": "string"}, "description": "Where the job is."}},
        },
        200: {"model": JobView, "description": "The same key and request created this job before."},
    },
)
async def migrate(
    request: MigrateRequest, response: Response, services: Given, idempotency_key: IdempotencyKey = None
) -> JobView:
    """Both nodes must be registered but need not be connected: the job waits for them, and says so."""
    submitted = await services.jobs.migrate(request, idempotency_key=idempotency_key)
    response.headers["Location"] = f"/jobs/{submitted.job.id}"
    response.status_code = 201 if submitted.created else 200
    return submitted.job


@router.get("", summary="List jobs, newest first")
async def page(
    services: Given,
    cursor: Cursor = None,
    limit: Annotated[int | None, Query(ge=1)] = None,
    status: Annotated[JobStatus | None, Query(description="Only jobs in this state.")] = None,
) -> JobPage:
    """At most `limit` jobs; pass `next_cursor` as `cursor` for the next ones."""
    return await services.jobs.page(cursor=cursor, limit=services.paging.limit(limit), status=status)


@router.get("/{job_id}", summary="Show a job")
async def get(job_id: JobId, services: Given) -> JobView:
    """Status, progress, attempts, and what it waits for or failed of."""
    return await services.jobs.get(job_id)


@router.post("/{job_id}/cancel", summary="Cancel a job")
async def cancel(job_id: JobId, services: Given) -> JobView:
    """A live job becomes `cancelling`, and `cancelled` once its node has stopped.

    Asking again changes nothing. 409 if the job has ended otherwise.
    """
    return await services.jobs.cancel(job_id)
