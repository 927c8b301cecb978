"""What `migrate`, `mirror`, `verify`, `jobs` and `job` do."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from replicator.cli.exits import ExitCode
from replicator.cli.following import follow
from replicator.cli.job_objects import print_differences
from replicator.cli.job_text import facts, plan_lines, root_lines, saved_line, summary
from replicator.cli.output import pages, print_json, print_listing, short_time
from replicator.cli.progress import progress_display
from replicator.cli.selection import checked
from replicator.cli.tables import Column
from replicator.cli.units import bytes_text, parse_optional_count, parse_optional_moment, parse_optional_rate
from replicator.client.control_plane import ControlPlaneClient
from replicator.wire.jobs import (
    ChangeJob,
    DeadLetterPage,
    JobPage,
    JobStatus,
    JobView,
    MigrateRequest,
    MirrorRequest,
    VerifyRequest,
)

PAGE_JOBS_MAX = 100
Command = Literal["pause", "resume", "retry", "cancel"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Where to ask, how to print, and whether to wait for the end."""

    control_plane: str
    json_output: bool
    wait: bool


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is to become of a job, as it was written; `none` takes a limit or a moment away."""

    command: Command | None = None
    priority: int | None = None
    bandwidth: str | None = None
    tasks_max: str | None = None
    start_at: str | None = None
    deadline: str | None = None

    def message(self) -> ChangeJob | None:
        """What is to be changed in place, if anything."""
        now = datetime.now(UTC)
        fields: dict[str, Any] = {} if self.priority is None else {"priority": self.priority}
        if self.bandwidth is not None:
            fields["bytes_per_second"] = parse_optional_rate(self.bandwidth)
        if self.tasks_max is not None:
            fields["tasks_max"] = parse_optional_count(self.tasks_max)
        if self.start_at is not None:
            fields["start_at"] = parse_optional_moment(self.start_at, now=now)
        if self.deadline is not None:
            fields["deadline_at"] = parse_optional_moment(self.deadline, now=now)
        return checked(ChangeJob, **fields) if fields else None


async def submit(
    asked: Asked,
    request: MigrateRequest | MirrorRequest | VerifyRequest,
    *,
    idempotency_key: str | None,
) -> int:
    """Create the job that `request` asks for, and wait for its end if asked to."""
    async with ControlPlaneClient(asked.control_plane) as client:
        match request:
            case MigrateRequest():
                job = await client.migrate(request, idempotency_key=idempotency_key)
            case MirrorRequest():
                job = await client.mirror(request, idempotency_key=idempotency_key)
            case VerifyRequest():
                job = await client.verify(request, idempotency_key=idempotency_key)
        if not asked.wait:
            _print_job(job, json_output=asked.json_output)
            return ExitCode.OK
        return await _wait(client, job, asked=asked, wanted="succeeded")


async def show(asked: Asked, job_id: int, change: Change) -> int:
    """Show one job, after changing it or following it to its end if asked to."""
    async with ControlPlaneClient(asked.control_plane) as client:
        job = await _changed(client, job_id, change)
        if not asked.wait:
            _print_job(job, json_output=asked.json_output)
            return ExitCode.OK
        wanted: JobStatus = "cancelled" if change.command == "cancel" else "succeeded"
        return await _wait(client, job, asked=asked, wanted=wanted)


async def ls(
    control_plane: str,
    *,
    status: JobStatus | None,
    limit: int | None,
    cursor: str | None,
    json_output: bool,
) -> None:
    """List jobs, a page at a time."""
    async with ControlPlaneClient(control_plane) as client:

        async def fetch(cursor: str | None, limit: int) -> JobPage:
            return await client.jobs(cursor=cursor, limit=limit, status=status)

        found = pages(fetch, cursor=cursor, limit=limit, page_items_max=PAGE_JOBS_MAX)
        await print_listing(found, key="jobs", columns=_COLUMNS, json_output=json_output)


async def dead_letters(
    control_plane: str, *, limit: int | None, cursor: str | None, json_output: bool
) -> None:
    """List tasks that have failed for good, a page at a time."""
    async with ControlPlaneClient(control_plane) as client:

        async def fetch(cursor: str | None, limit: int) -> DeadLetterPage:
            return await client.dead_letters(cursor=cursor, limit=limit)

        found = pages(fetch, cursor=cursor, limit=limit, page_items_max=PAGE_JOBS_MAX)
        await print_listing(found, key="dead_letters", columns=_DEAD_COLUMNS, json_output=json_output)


async def _changed(client: ControlPlaneClient, job_id: int, change: Change) -> JobView:
    message = change.message()
    job = None if message is None else await client.change_job(job_id, message)
    match change.command:
        case "pause":
            return await client.pause_job(job_id)
        case "resume":
            return await client.resume_job(job_id)
        case "retry":
            return await client.retry_job(job_id)
        case "cancel":
            return await client.cancel_job(job_id)
        case None:
            return job or await client.job(job_id)


async def _wait(client: ControlPlaneClient, job: JobView, *, asked: Asked, wanted: JobStatus) -> int:
    try:
        with progress_display(f"job {job.id}", silent=asked.json_output) as display:
            job = await follow(client, job, display)
    except asyncio.CancelledError:
        if not asked.json_output:
            print(
                f"replicator: job {job.id} goes on; see it with 'replicator job {job.id} --follow', "
                f"stop it with 'replicator job {job.id} --cancel'",
                file=sys.stderr,
            )
        raise
    if asked.json_output:
        print_json(job)
    else:
        await _print_end(client, job, wanted=wanted)
    return ExitCode.OK if job.status == wanted else ExitCode.JOB_NOT_SUCCEEDED


async def _print_end(client: ControlPlaneClient, job: JobView, *, wanted: JobStatus) -> None:
    print(summary(job), file=sys.stdout if job.status == wanted or job.verdict else sys.stderr)
    for line in (*root_lines(job), *plan_lines(job)):
        print(line)
    if job.verdict is not None and job.verdict.differences:
        await print_differences(client, job)


def _print_job(job: JobView, *, json_output: bool) -> None:
    if json_output:
        print_json(job)
        return
    print(summary(job))
    for name, fact in facts(job).items():
        if fact:
            print(f"  {name:<12} {fact}")
    for line in (*root_lines(job), *plan_lines(job), saved_line(job)):
        if line:
            print(line)


_COLUMNS = (
    Column("job", lambda item: item.id, right=True),
    Column("status", lambda item: item.status),
    Column("from", lambda item: item.src_node),
    Column("to", lambda item: item.dst_node),
    Column("objects", lambda item: item.selection, drop=1, shortens=True),
    Column("size", lambda item: item.progress.bytes_logical, bytes_text, right=True, drop=3),
    Column("sent", lambda item: item.progress.bytes_transferred, bytes_text, right=True, drop=4),
    Column("there already", lambda item: item.progress.bytes_deduplicated, bytes_text, right=True, drop=6),
    Column("created", lambda item: item.created_at, short_time, drop=5),
    Column("error", lambda item: None if item.error is None else item.error.code, drop=2),
    Column("kind", lambda item: f"{item.kind}{', dry run' if item.dry_run else ''}", drop=7),
)
_DEAD_COLUMNS = (
    Column("task", lambda item: item.task_id, right=True),
    Column("job", lambda item: item.job_id, right=True),
    Column("kind", lambda item: item.kind, drop=5),
    Column("from", lambda item: item.src_node, drop=2),
    Column("to", lambda item: item.dst_node, drop=2),
    Column("objects", lambda item: item.objects_failed, right=True, drop=3),
    Column("attempts", lambda item: item.attempts, right=True, drop=4),
    Column("lost", lambda item: item.losses, right=True, drop=6),
    Column("failed", lambda item: item.failed_at, short_time, drop=1),
    Column("error", lambda item: None if item.error is None else item.error.code),
    Column("reason", lambda item: None if item.error is None else item.error.message, below=True),
)
