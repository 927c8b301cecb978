"""The objects of a job: what became of each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from replicator.control_plane.domain import object_row
from replicator.control_plane.domain.object_row import ObjectRow
from replicator.control_plane.ports import Database, Unit
from replicator.control_plane.services import cursors
from replicator.control_plane.services.jobs import view_of
from replicator.wire.jobs import JobObject, JobObjectPage, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """What can be asked about the objects of a job. Methods raise `NotFound` where there is no such job."""

    database: Database

    async def page(
        self, job_id: int, *, cursor: str | None, limit: int, outcome: Outcome | None
    ) -> JobObjectPage:
        """At most `limit` objects, in the order they were found."""
        after = 0 if cursor is None else cursors.after_row(cursor)
        return await self.database.read(lambda unit: _page(unit, job_id, after, limit, outcome))

    async def pages_from(
        self, first: JobObjectPage, job_id: int, *, limit: int, outcome: Outcome | None
    ) -> AsyncIterator[JobObjectPage]:
        """`first`, and every page behind it, each read when it is taken."""
        page = first
        yield page
        while page.next_cursor is not None:
            page = await self.page(job_id, cursor=page.next_cursor, limit=limit, outcome=outcome)
            yield page


def _page(unit: Unit, job_id: int, after: int, limit: int, outcome: Outcome | None) -> JobObjectPage:
    view_of(unit, job_id)
    kept = None if outcome is None else object_row.Outcome(outcome)
    found = unit.objects.page(job_id, after_row=after, limit=limit + 1, outcome=kept)
    shown = found[:limit]
    more = len(found) > limit
    return JobObjectPage(
        objects=[object_view(row) for row in shown],
        next_cursor=cursors.of_row(shown[-1].id) if more else None,
    )


def object_view(row: ObjectRow) -> JobObject:
    """The row as users see it."""
    return JobObject(
        row=row.id,
        bucket=row.bucket,
        object_id=row.object_id,
        version=row.version,
        manifest=row.manifest,
        action=row.action.value,
        finding=row.finding,
        outcome=row.outcome.value,
        size=row.size,
        bytes_transferred=row.bytes_transferred,
        bytes_deduplicated=row.bytes_deduplicated,
        bytes_saved=row.bytes_saved,
        attempts=row.attempts,
        error=row.error,
    )
