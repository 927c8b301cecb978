"""What `job ID --objects` and `job ID --events` do, and the differences that `verify` lists."""

from __future__ import annotations

import json
import sys
from contextlib import aclosing

from replicator.cli.exits import ExitCode
from replicator.cli.output import local_time, pages, print_json_line, print_listing
from replicator.cli.tables import Column
from replicator.cli.units import bytes_text
from replicator.client.control_plane import ControlPlaneClient
from replicator.wire.jobs import JobEvent, JobObjectPage, JobView, Outcome

PAGE_OBJECTS_MAX = 1000
DIFFERENCES_SHOWN_MAX = 20


async def ls(
    control_plane: str,
    job_id: int,
    *,
    outcome: Outcome | None,
    limit: int | None,
    cursor: str | None,
    json_output: bool,
) -> None:
    """List the objects of a job, a page at a time."""
    async with ControlPlaneClient(control_plane) as client:

        async def fetch(cursor: str | None, limit: int) -> JobObjectPage:
            return await client.job_objects(job_id, cursor=cursor, limit=limit, outcome=outcome)

        found = pages(fetch, cursor=cursor, limit=limit, page_items_max=PAGE_OBJECTS_MAX)
        await print_listing(found, key="objects", columns=_COLUMNS, json_output=json_output)


async def csv(control_plane: str, job_id: int, *, outcome: Outcome | None) -> None:
    """Write the objects of a job as CSV, with a line of titles."""
    async with (
        ControlPlaneClient(control_plane) as client,
        aclosing(client.job_objects_csv(job_id, outcome=outcome)) as blocks,
    ):
        async for block in blocks:
            sys.stdout.buffer.write(block)
    sys.stdout.buffer.flush()


async def events(control_plane: str, job_id: int, *, json_output: bool) -> int:
    """Print what has happened to a job and what happens, until it has ended."""
    job: JobView | None = None
    async with (
        ControlPlaneClient(control_plane) as client,
        aclosing(client.job_events(job_id)) as told,
    ):
        async for each in told:
            if isinstance(each, JobView):
                job = each
            elif json_output:
                print_json_line(each)
            else:
                print(event_line(each), flush=True)
    succeeded = job is not None and job.status == "succeeded"
    return ExitCode.OK if succeeded else ExitCode.JOB_NOT_SUCCEEDED


def event_line(event: JobEvent) -> str:
    """An event in one line."""
    fields = " ".join(f"{name}={_value(value)}" for name, value in event.fields.items())
    return f"{event.id}\t{local_time(event.at)}\t{event.name}\t{fields}"


async def print_differences(client: ControlPlaneClient, job: JobView) -> None:
    """The first differences that a verification found, and how to see the others."""
    page = await client.job_objects(job.id, limit=DIFFERENCES_SHOWN_MAX, outcome="failed")
    for item in page.objects:
        finding = item.finding or ("differs" if item.error is None else item.error.code)
        print(f"  {finding:<24} {item.bucket}/{item.object_id}  {item.version or ''}".rstrip())
    if page.next_cursor is not None:
        print(f"there are more: replicator job {job.id} --objects --outcome failed", file=sys.stderr)


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return json.dumps(text, ensure_ascii=False) if not text or " " in text else text


_COLUMNS = (
    Column("row", lambda item: item.row, right=True, drop=5),
    Column("outcome", lambda item: item.outcome),
    Column("bucket", lambda item: item.bucket, drop=4),
    Column("object", lambda item: item.object_id),
    Column("version", lambda item: item.version, drop=3),
    Column("size", lambda item: item.size, bytes_text, right=True, drop=2),
    Column("sent", lambda item: item.bytes_transferred, bytes_text, right=True, drop=6),
    Column("there already", lambda item: item.bytes_deduplicated, bytes_text, right=True, drop=7),
    Column("saved", lambda item: item.bytes_saved, bytes_text, right=True, drop=8),
    Column("attempts", lambda item: item.attempts, right=True, drop=5),
    Column("error", lambda item: None if item.error is None else item.error.code, drop=1),
)
