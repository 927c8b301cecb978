"""`replicator jobs | job`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from replicator.cli.options import (
    CONTROL_PLANE_DEFAULT,
    WHEN_HELP,
    ControlPlane,
    CursorOption,
    Json,
    LimitOption,
)
from replicator.cli.running import run

Status = Literal[
    "queued", "planning", "running", "paused", "succeeded", "partial", "failed", "cancelling", "cancelled"
]
Command = Literal["pause", "resume", "retry", "cancel"]
Outcome = Literal["pending", "verified", "skipped", "deleted", "failed", "cancelled", "planned"]


def jobs(
    status: Annotated[Status | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: LimitOption = None,
    cursor: CursorOption = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """List jobs, newest first.

    In a pipe, separated by tabs: id, status, source, destination, objects in
    words, bytes logical, bytes sent, bytes there already, time created, error
    code, kind.

    [bold]Examples[/bold]
    replicator jobs --limit 10
    replicator jobs --status failed --json
    """
    from replicator.cli import jobs as work

    run(
        work.ls(control_plane, status=status, limit=limit, cursor=cursor, json_output=json_output),
        json_output=json_output,
    )


def job(
    job_id: Annotated[int, typer.Argument(metavar="ID", min=1)],
    wait: Annotated[
        bool, typer.Option("--wait", "--follow", help="Show progress until the job has ended.")
    ] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Ask the job to stop.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Begin no more of it until it is resumed.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Let it go on after a pause.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what failed, and only that.")] = False,
    priority: Annotated[int | None, typer.Option(min=-9, max=9, help="Change it: higher goes first.")] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Change it: bytes a second, like 10MiB, or none for no limit."),
    ] = None,
    tasks_max: Annotated[
        str | None, typer.Option("--tasks-max", metavar="N", help="Change it: tasks at a time, or none.")
    ] = None,
    start_at: Annotated[
        str | None, typer.Option(metavar="WHEN", help=f"Change it, before it has begun. {WHEN_HELP}")
    ] = None,
    deadline: Annotated[
        str | None, typer.Option(metavar="WHEN", help=f"Change it; none takes it away. {WHEN_HELP}")
    ] = None,
    objects: Annotated[bool, typer.Option("--objects", help="List what became of each object.")] = False,
    outcome: Annotated[Outcome | None, typer.Option(help="Of --objects, only these.")] = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print --objects as CSV, with a line of titles.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Print what has happened and what happens, to the end.")
    ] = False,
    limit: LimitOption = None,
    cursor: CursorOption = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Show a job, follow it to its end, change it, or list its objects or events.

    With --wait the exit code tells how it ended.
    With --cancel as well, cancelled is the end asked for.

    In a pipe, --objects gives, separated by tabs: row, outcome, bucket, object
    id, version, size, bytes sent, bytes there already, bytes saved, attempts,
    error code.

    [bold]Examples[/bold]
    replicator job 7
    replicator job 7 --follow
    replicator job 7 --cancel --wait
    replicator job 7 --retry --wait
    replicator job 7 --bandwidth 10MiB --priority 5
    replicator job 7 --start-at none --deadline 12h
    replicator job 7 --objects --outcome failed
    replicator job 7 --objects --csv > objects.csv
    """
    from replicator.cli import job_objects
    from replicator.cli import jobs as work

    commands: dict[Command, bool] = {"pause": pause, "resume": resume, "retry": retry, "cancel": cancel}
    change = work.Change(
        command=_only(commands),
        priority=priority,
        bandwidth=bandwidth,
        tasks_max=tasks_max,
        start_at=start_at,
        deadline=deadline,
    )
    narrowed = bool(outcome or limit or cursor)
    _require_one_thing(
        showing=wait or change != work.Change(), listing=objects or csv or narrowed, events=events
    )
    if csv:
        _require_whole(limit, cursor, json_output=json_output)
        run(job_objects.csv(control_plane, job_id, outcome=outcome), json_output=False)
    if objects or narrowed:
        listing = job_objects.ls(
            control_plane, job_id, outcome=outcome, limit=limit, cursor=cursor, json_output=json_output
        )
        run(listing, json_output=json_output)
    if events:
        run(job_objects.events(control_plane, job_id, json_output=json_output), json_output=json_output)
    asked = work.Asked(control_plane=control_plane, json_output=json_output, wait=wait)
    run(work.show(asked, job_id, change), json_output=json_output)


def dead_letters(
    limit: LimitOption = None,
    cursor: CursorOption = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """List tasks that have failed for good, newest first, each with its reason.

    `replicator job ID --retry` tries those of a job again, which takes them off
    this list.

    In a pipe, separated by tabs: task, job, kind, source, destination, objects
    failed, attempts, attempts lost with their node, time of the failure, error
    code, reason.

    [bold]Examples[/bold]
    replicator dead-letters
    replicator dead-letters --limit 10 --json
    """
    from replicator.cli import jobs as work

    listing = work.dead_letters(control_plane, limit=limit, cursor=cursor, json_output=json_output)
    run(listing, json_output=json_output)


def _only(commands: dict[Command, bool]) -> Command | None:
    wanted = [command for command, asked in commands.items() if asked]
    if len(wanted) > 1:
        raise typer.BadParameter(f"one of {' and '.join(f'--{command}' for command in wanted)}, not both")
    return wanted[0] if wanted else None


def _require_one_thing(*, showing: bool, listing: bool, events: bool) -> None:
    if showing + listing + events > 1:
        raise typer.BadParameter("--objects and --events stand alone: the others change or follow the job")


def _require_whole(limit: int | None, cursor: str | None, *, json_output: bool) -> None:
    if limit or cursor or json_output:
        raise typer.BadParameter("--csv prints every row as CSV: leave out --limit, --cursor and --json")
