"""What a survey has found, as rows and numbers of its job. Synchronous work inside a unit."""

from __future__ import annotations

import itertools

from replicator.control_plane.domain import job as jobs
from replicator.control_plane.domain.job import Job
from replicator.control_plane.domain.object_row import Action, ObjectRow, Outcome
from replicator.control_plane.domain.spec import JobKind
from replicator.control_plane.ports import Unit
from replicator.control_plane.services import telling
from replicator.kernel.names import DEFAULT_BUCKET
from replicator.wire.sessions import ErrorInfo, Found, SurveyResult

_DIFFERENCES = {
    "absent": ("not-found", "the destination does not have it"),
    "extra": ("not-found", "the source does not have it"),
    "differs": ("differs", "the sides have different versions, or different content under one"),
    "newer": ("differs", "the destination has a newer version"),
    "corrupt-at-source": ("corrupt", "the source's bytes do not match their digests"),
    "corrupt-at-destination": ("corrupt", "the destination's bytes do not match their digests"),
}

_KEPT_NEWER = ErrorInfo(
    error_class="permanent",
    code="conflict",
    message="the destination has a newer version or delete marker: remove that there, or mirror the other way",
)
_UNKNOWN = ErrorInfo(error_class="permanent", code="not-found", message="the source does not have it")


def take(unit: Unit, job: Job, survey: SurveyResult | None) -> ErrorInfo | None:
    """Store what a stretch has shown; or why it shows nothing."""
    if survey is None:
        return _broken("the node sent no survey")
    if survey.cursor is not None and survey.cursor == job.planning.cursor:
        return _broken("the survey does not get on")
    rows = _rows(job, survey)
    unit.objects.add_many(rows)
    done = survey.cursor is None or job.spec.dry_run
    after = jobs.found(jobs.compared(job, survey), rows, surveyed=done, now_ms=unit.now_ms)
    unit.jobs.put(after)
    telling.job_event(
        unit,
        job.id,
        "survey.advanced",
        {"compared": after.planning.compared, "found": len(rows), "done": done},
    )
    telling.failures(unit, rows)
    telling.job_moved(unit, job, after)
    return None


def _broken(message: str) -> ErrorInfo:
    return ErrorInfo(error_class="transient", code="broken-peer", message=message)


def _rows(job: Job, survey: SurveyResult) -> list[ObjectRow]:
    ids = itertools.count(job.planning.rows_found + 1)
    rows = [_row(job, next(ids), each) for each in survey.found if _is_meant(job, each)]
    return rows + [_unknown(job, next(ids), object_id) for object_id in survey.unknown]


def _is_meant(job: Job, found: Found) -> bool:
    """Whether something is to be done about it: what is only at the destination stays, unless said otherwise."""
    return job.spec.kind is JobKind.VERIFY or job.spec.delete or found.finding != "extra"


def _row(job: Job, row_id: int, found: Found) -> ObjectRow:
    verifies = job.spec.kind is JobKind.VERIFY
    action = Action.DELETE if found.finding == "extra" else Action.TRANSFER
    outcome, error = _fate(job, found)
    return ObjectRow(
        id=row_id,
        job_id=job.id,
        bucket=found.bucket,
        object_id=found.object_id,
        version=found.version,
        manifest=found.manifest,
        size=found.size,
        action=Action.VERIFY if verifies else action,
        finding=found.finding,
        outcome=outcome,
        error=error,
    )


def _fate(job: Job, found: Found) -> tuple[Outcome, ErrorInfo | None]:
    """What is settled with the finding itself, and why."""
    if job.spec.dry_run:
        return Outcome.PLANNED, None
    if job.spec.kind is JobKind.VERIFY:
        return Outcome.FAILED, _difference(found)
    if found.finding != "newer":
        return Outcome.PENDING, None
    # A mirror promises that the sides are equal, a migration that nothing of the source is missing.
    return (Outcome.FAILED, _KEPT_NEWER) if job.spec.kind is JobKind.MIRROR else (Outcome.SKIPPED, None)


def _unknown(job: Job, row_id: int, object_id: str) -> ObjectRow:
    return ObjectRow(
        id=row_id,
        job_id=job.id,
        bucket=job.spec.bucket or DEFAULT_BUCKET,
        object_id=object_id,
        outcome=Outcome.FAILED,
        error=_UNKNOWN,
    )


def _difference(found: Found) -> ErrorInfo:
    code, message = _DIFFERENCES[found.finding]
    return ErrorInfo(error_class="permanent", code=code, message=message)
