"""What `migrate`, `jobs` and `job` do."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass

from replicator.cli.exits import ExitCode
from replicator.cli.output import Column, local_time, pages, print_json, print_listing
from replicator.cli.progress import ProgressDisplay, Reading, progress_display
from replicator.cli.units import bytes_text, duration_text, rate_text
from replicator.client.control_plane import ControlPlaneClient
from replicator.kernel.errors import Unavailable
from replicator.kernel.names import NodeName, ObjectId
from replicator.wire.jobs import TERMINAL_STATUSES, JobPage, JobStatus, JobView, MigrateRequest

PAGE_JOBS_MAX = 100
POLL_SECONDS_MIN = 0.05
POLL_SECONDS_MAX = 0.5
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Where to ask, how to print, and whether to wait for the end."""

    control_plane: str
    json_output: bool
    wait: bool


async def migrate(asked: Asked, what: tuple[str, str, str], *, idempotency_key: str | None) -> int:
    """Create a job for `what`: source, destination, object id."""
    source, destination, object_id = what
    request = MigrateRequest(
        src_node=NodeName.parse(source),
        dst_node=NodeName.parse(destination),
        object_id=ObjectId.parse(object_id),
    )
    async with ControlPlaneClient(asked.control_plane) as client:
        job = await client.migrate(request, idempotency_key=idempotency_key)
        if not asked.wait:
            _print_job(job, json_output=asked.json_output)
            return ExitCode.OK
        return await _wait(client, job, asked=asked, wanted="succeeded")


async def show(asked: Asked, job_id: int, *, cancel: bool) -> int:
    """Show one job, after cancelling it or following it to its end if asked to."""
    async with ControlPlaneClient(asked.control_plane) as client:
        job = await (client.cancel_job(job_id) if cancel else client.job(job_id))
        if not asked.wait:
            _print_job(job, json_output=asked.json_output)
            return ExitCode.OK
        return await _wait(client, job, asked=asked, wanted="cancelled" if cancel else "succeeded")


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


async def follow(client: ControlPlaneClient, job: JobView, display: ProgressDisplay) -> JobView:
    """Show `job` on `display` until it has ended; returns how it ended.

    A control plane that does not answer is asked again for `PATIENCE_SECONDS`; then `Unavailable`.
    """
    display.show(reading_of(job))
    wait_s = POLL_SECONDS_MIN
    while job.status not in TERMINAL_STATUSES:
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, POLL_SECONDS_MAX)
        job = await _patiently(client, job, display)
        display.show(reading_of(job))
    return job


def reading_of(job: JobView) -> Reading:
    """A job's progress, for display."""
    progress = job.progress
    known = progress.bytes_logical > 0 or job.status in TERMINAL_STATUSES
    return Reading(
        done=progress.bytes_transferred + progress.bytes_deduplicated,
        total=progress.bytes_logical if known else None,
        deduplicated=progress.bytes_deduplicated,
        rate=progress.rate_bytes_per_second,
        remaining_s=progress.remaining_seconds,
        state=job.status,
        note=f"waiting for {job.waiting_for}" if job.waiting_for else "",
    )


def summary(job: JobView) -> str:
    """A job in one line."""
    if job.status not in TERMINAL_STATUSES:
        waiting = f", waiting for {job.waiting_for}" if job.waiting_for else ""
        return f"job {job.id} {job.status}: {job.object_id} from {job.src_node} to {job.dst_node}{waiting}"
    if job.status != "succeeded":
        reason = f": {job.error.message} ({job.error.code})" if job.error is not None else ""
        return f"job {job.id} {job.status}{reason}"
    progress = job.progress
    text = (
        f"job {job.id} succeeded: {job.object_id} is on {job.dst_node}; of {bytes_text(progress.bytes_logical)}, "
        f"{bytes_text(progress.bytes_transferred)} were sent and "
        f"{bytes_text(progress.bytes_deduplicated)} were there already"
    )
    seconds = seconds_of(job)
    if not seconds:
        return text
    return f"{text}; {duration_text(seconds)}, {rate_text(progress.bytes_logical / seconds)}"


def seconds_of(job: JobView) -> float | None:
    """From its creation to its end; None while it lives."""
    return None if job.finished_at is None else (job.finished_at - job.created_at).total_seconds()


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
        print(summary(job), file=sys.stdout if job.status == wanted else sys.stderr)
    return ExitCode.OK if job.status == wanted else ExitCode.JOB_NOT_SUCCEEDED


async def _patiently(client: ControlPlaneClient, job: JobView, display: ProgressDisplay) -> JobView:
    clock = asyncio.get_running_loop().time
    give_up_s = clock() + PATIENCE_SECONDS
    while True:
        try:
            return await client.job(job.id)
        except Unavailable:
            if clock() >= give_up_s:
                raise
        known = reading_of(job)
        display.show(
            Reading(
                done=known.done, total=known.total, note="the control plane does not answer; asking again"
            )
        )
        await asyncio.sleep(POLL_SECONDS_MAX)


def _print_job(job: JobView, *, json_output: bool) -> None:
    if json_output:
        print_json(job)
        return
    print(summary(job))
    progress = job.progress
    facts = {
        "source": job.src_node,
        "destination": job.dst_node,
        "object": job.object_id,
        "progress": str(reading_of(job)),
        "objects": f"{progress.objects_planned} planned, {progress.objects_verified} verified, "
        f"{progress.objects_skipped} skipped, {progress.objects_failed} failed",
        "attempts": str(job.attempts),
        "error": ""
        if job.error is None
        else f"{job.error.message} ({job.error.code}, {job.error.error_class})",
        "created": local_time(job.created_at),
        "started": "" if job.started_at is None else local_time(job.started_at),
        "finished": "" if job.finished_at is None else local_time(job.finished_at),
    }
    for name, fact in facts.items():
        if fact:
            print(f"  {name:<12} {fact}")


_COLUMNS = (
    Column("job", lambda item: item.id, right=True),
    Column("status", lambda item: item.status),
    Column("from", lambda item: item.src_node),
    Column("to", lambda item: item.dst_node),
    Column("object", lambda item: item.object_id),
    Column("size", lambda item: item.progress.bytes_logical, bytes_text, right=True),
    Column("sent", lambda item: item.progress.bytes_transferred, bytes_text, right=True),
    Column("there already", lambda item: item.progress.bytes_deduplicated, bytes_text, right=True),
    Column("created", lambda item: item.created_at, local_time),
    Column("error", lambda item: None if item.error is None else item.error.code),
)
