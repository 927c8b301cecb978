"""Following a job to its end: by its events, and by asking now and then where they break off."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from replicator.cli.progress import ProgressDisplay, Reading
from replicator.client.control_plane import ControlPlaneClient
from replicator.kernel.errors import BrokenPeer, Unavailable
from replicator.wire.jobs import TERMINAL_STATUSES, JobView

POLL_SECONDS_MIN = 0.05
POLL_SECONDS_MAX = 0.5
PATIENCE_SECONDS = 60.0


async def follow(client: ControlPlaneClient, job: JobView, display: ProgressDisplay) -> JobView:
    """Show `job` on `display` until it has ended; returns how it ended.

    A control plane that does not answer is asked again for `PATIENCE_SECONDS`; then `Unavailable`.
    """
    display.show(reading_of(job))
    if job.status in TERMINAL_STATUSES:
        return job
    try:
        job = await _listen(client, job, display)
    except (Unavailable, BrokenPeer):
        # Too many streams, a proxy that holds them back, a control plane that restarts: asking works with all.
        job = await _ask(client, job, display)
    return job


def reading_of(job: JobView) -> Reading:
    """A job's progress, for display."""
    progress = job.progress
    known = progress.bytes_logical > 0 or job.status in TERMINAL_STATUSES
    return Reading(
        done=progress.bytes_transferred + progress.bytes_deduplicated,
        total=progress.bytes_logical if known else None,
        deduplicated=progress.bytes_deduplicated,
        saved=progress.bytes_saved,
        objects_done=progress.objects_verified + progress.objects_skipped + progress.objects_failed,
        objects_total=max(progress.objects_planned, job.compared),
        rate=progress.rate_bytes_per_second,
        remaining_s=progress.remaining_seconds,
        state=job.status,
        note=f"waiting for {job.waiting_for}" if job.waiting_for else "",
    )


async def _listen(client: ControlPlaneClient, job: JobView, display: ProgressDisplay) -> JobView:
    async with aclosing(client.job_events(job.id, patience_s=0)) as events:
        async for told in events:
            if isinstance(told, JobView):
                job = told
                display.show(reading_of(job))
    return job


async def _ask(client: ControlPlaneClient, job: JobView, display: ProgressDisplay) -> JobView:
    wait_s = POLL_SECONDS_MIN
    while job.status not in TERMINAL_STATUSES:
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, POLL_SECONDS_MAX)
        job = await _patiently(client, job, display)
        display.show(reading_of(job))
    return job


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
