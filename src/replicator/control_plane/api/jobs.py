"""/jobs"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response

from replicator.control_plane.api.paging import Cursor
from replicator.control_plane.api.services import Given
from replicator.control_plane.services.jobs import Submitted
from replicator.wire.jobs import (
    ChangeJob,
    JobPage,
    JobStatus,
    JobView,
    MigrateRequest,
    MirrorRequest,
    VerifyRequest,
)
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
_SUBMITTED: dict[int | str, dict[str, Any]] = {
    201: {
        "description": "The job is created, durably. `Location` names it.",
        "headers": {"Location": {"schema": {"type": "string"}, "description": "Where the job is."}},
    },
    200: {"model": JobView, "description": "The same key and request created this job before."},
}


@router.post(
    "/migrate",
    status_code=201,
    summary="Bring objects from one node to another",
    responses=_SUBMITTED,
    response_model=JobView,
)
async def migrate(
    request: MigrateRequest, services: Given, idempotency_key: IdempotencyKey = None
) -> Response:
    """Name what is meant: `object_id`, `object_ids`, `prefix`, a whole `bucket`, or `all`.

    Both nodes must be registered but need not be connected: the job waits for them, and says so.
    """
    return _created(await services.jobs.migrate(request, idempotency_key=idempotency_key))


@router.post(
    "/mirror",
    status_code=201,
    summary="Make a prefix on one node equal to another's",
    responses=_SUBMITTED,
    response_model=JobView,
)
async def mirror(request: MirrorRequest, services: Given, idempotency_key: IdempotencyKey = None) -> Response:
    """Deletes only where `delete` says so, and nothing at all where `max_deletes` would be exceeded."""
    return _created(await services.jobs.mirror(request, idempotency_key=idempotency_key))


@router.post(
    "/verify",
    status_code=201,
    summary="Prove that two nodes agree on a prefix",
    responses=_SUBMITTED,
    response_model=JobView,
)
async def verify(request: VerifyRequest, services: Given, idempotency_key: IdempotencyKey = None) -> Response:
    """Succeeds only where both sides have the same Merkle root; `verdict` has both, the objects what differs."""
    return _created(await services.jobs.verify(request, idempotency_key=idempotency_key))


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


@router.patch("/{job_id}", summary="Change the priority, the limits or the times of a job")
async def change(job_id: JobId, request: ChangeJob, services: Given) -> JobView:
    """What is not named stays. Holds for what is under way too, but for `tasks_max`, which is for tasks to come.

    409 if the job has ended, or if `start_at` is named and it has begun.
    """
    return await services.jobs.change(job_id, request)


@router.post("/{job_id}/pause", summary="Pause a job")
async def pause(job_id: JobId, services: Given) -> JobView:
    """No more of it is begun; what is under way may end. Asking again changes nothing. 409 if it has ended."""
    return await services.jobs.pause(job_id)


@router.post("/{job_id}/resume", summary="Let a paused job go on")
async def resume(job_id: JobId, services: Given) -> JobView:
    """Asking again changes nothing. 409 if the job has ended."""
    return await services.jobs.resume(job_id)


@router.post("/{job_id}/retry", summary="Try again what failed")
async def retry(job_id: JobId, services: Given) -> JobView:
    """A job that is `partial` or `failed` lives again, for the objects that failed alone. 409 otherwise.

    409 for a job in history, too, where jobs go a while after their end.
    """
    return await services.jobs.retry(job_id)


@router.post("/{job_id}/cancel", summary="Cancel a job")
async def cancel(job_id: JobId, services: Given) -> JobView:
    """A live job becomes `cancelling`, and `cancelled` once its node has stopped.

    Asking again changes nothing. 409 if the job has ended otherwise.
    """
    return await services.jobs.cancel(job_id)


def _created(submitted: Submitted) -> Response:
    """The job as it is, for it has been checked when it was made, and checking it again costs as much as making it."""
    return Response(
        submitted.job.model_dump_json(by_alias=True),
        status_code=201 if submitted.created else 200,
        headers={"Location": f"/jobs/{submitted.job.id}"},
        media_type="application/json",
    )
