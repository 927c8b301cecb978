"""/jobs/{job_id}/objects, as JSON or CSV (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Sequence
from operator import attrgetter
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from replicator.control_plane.api.jobs import JobId
from replicator.control_plane.api.paging import Cursor
from replicator.control_plane.api.services import Given
from replicator.kernel.errors import InvalidRequest
from replicator.wire.jobs import JobObject, JobObjectPage, Outcome

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
CSV = "text/csv"
_PLAIN = tuple(name for name in JobObject.model_fields if name != "error")
_values = attrgetter(*_PLAIN)
COLUMNS = (*_PLAIN, "error_class", "error_code", "error_message")

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get(
    "/{job_id}/objects",
    summary="List the objects of a job",
    response_model=JobObjectPage,
    responses={
        200: {
            "description": "A page as JSON, or every row as CSV.",
            "content": {CSV: {"schema": {"type": "string"}, "example": ",".join(COLUMNS) + "\r\n"}},
        }
    },
)
async def page(
    job_id: JobId,
    services: Given,
    cursor: Cursor = None,
    limit: Annotated[int | None, Query(ge=1)] = None,
    outcome: Annotated[Outcome | None, Query(description="Only objects that this became of.")] = None,
    form: Annotated[
        Literal["json", "csv"] | None, Query(alias="format", description="Goes before `Accept`.")
    ] = None,
    accept: Annotated[str, Header()] = "",
) -> JobObjectPage | Response:
    """What became of each object, in the order they were found: outcome, bytes, attempts, error.

    Objects that agreed when the sides were compared are only counted. JSON comes in pages. CSV, with
    `format=csv` or `Accept: text/csv`, has a line of titles and every row from `cursor` on.
    """
    if not (form == "csv" if form else CSV in accept and "json" not in accept):
        limit = services.paging.limit(limit)
        return await services.objects.page(job_id, cursor=cursor, limit=limit, outcome=outcome)
    if limit is not None:
        raise InvalidRequest("a CSV has every row: leave out limit, or ask for JSON")
    limit = services.paging.items_max
    first = await services.objects.page(job_id, cursor=cursor, limit=limit, outcome=outcome)
    pages = services.objects.pages_from(first, job_id, limit=limit, outcome=outcome)
    named = {"Content-Disposition": f'inline; filename="job-{job_id}-objects.csv"'}
    return StreamingResponse(_lines(pages), media_type=CSV, headers=named)


async def _lines(pages: AsyncIterator[JobObjectPage]) -> AsyncIterator[str]:
    yield _csv([COLUMNS])
    async for found in pages:
        yield _csv([_row(each) for each in found.objects])


def _row(item: JobObject) -> Sequence[object]:
    error = item.error
    explained = (None, None, None) if error is None else (error.error_class, error.code, error.message)
    return (*_values(item), *explained)


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([[_defused(cell) for cell in row] for row in rows])
    return text.getvalue()


def _defused(cell: object) -> object:
    """Text that a spreadsheet would take for a formula, behind an apostrophe (OWASP, "CSV Injection")."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell
