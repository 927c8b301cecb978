"""`replicator migrate | jobs | job`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from replicator.cli.options import CONTROL_PLANE_DEFAULT, ControlPlane, CursorOption, Json, LimitOption
from replicator.cli.running import run

Status = Literal[
    "queued", "planning", "running", "paused", "succeeded", "partial", "failed", "cancelling", "cancelled"
]


def migrate(
    source: Annotated[str, typer.Argument(metavar="SRC", help="The node that has the object, by name.")],
    destination: Annotated[str, typer.Argument(metavar="DST", help="The node to copy it to, by name.")],
    object_id: Annotated[str, typer.Argument(metavar="OBJECT_ID")],
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Show progress until the job has ended.")
    ] = True,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The same key and request give the same job, however often sent."),
    ] = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Copy an object from one node to another; only the bytes that the other lacks travel.

    Ctrl-C ends the waiting, not the job.

    [bold]Examples[/bold]
    replicator migrate node1 node2 backup.tar
    replicator migrate node1 node2 a.tar --no-wait --idempotency-key night17
    """
    from replicator.cli import jobs as work

    run(
        work.migrate(
            work.Asked(control_plane=control_plane, json_output=json_output, wait=wait),
            (source, destination, object_id),
            idempotency_key=idempotency_key,
        ),
        json_output=json_output,
    )


def jobs(
    status: Annotated[Status | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: LimitOption = None,
    cursor: CursorOption = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """List jobs, newest first.

    In a pipe, separated by tabs: id, status, source, destination, object id,
    bytes logical, bytes sent, bytes there already, time created, error code.

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
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Show a job, follow it to its end, or cancel it.

    With --wait the exit code tells how it ended.
    With --cancel as well, cancelled is the end asked for.

    [bold]Examples[/bold]
    replicator job 7
    replicator job 7 --follow
    replicator job 7 --cancel --wait
    """
    from replicator.cli import jobs as work

    asked = work.Asked(control_plane=control_plane, json_output=json_output, wait=wait)
    run(work.show(asked, job_id, cancel=cancel), json_output=json_output)
