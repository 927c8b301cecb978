"""`replicator tasks | task`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from replicator.cli.options import CONTROL_PLANE_DEFAULT, ControlPlane, CursorOption, Json, LimitOption
from replicator.cli.running import run

Status = Literal["ready", "leased", "scheduled", "held", "cancelling", "succeeded", "failed", "cancelled"]


def tasks(
    job_id: Annotated[int, typer.Argument(metavar="JOB", min=1)],
    status: Annotated[Status | None, typer.Option(help="Only tasks in this state.")] = None,
    limit: LimitOption = None,
    cursor: CursorOption = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """List the tasks of a job, in the order they were made.

    In a pipe, separated by tabs: id, status, kind, source, destination, objects
    left, objects failed, attempts, bytes sent, error code, what it waits for.

    [bold]Examples[/bold]
    replicator tasks 5
    replicator tasks 5 --status failed
    """
    from replicator.cli import tasks as work

    listing = work.ls(
        control_plane, job_id, status=status, limit=limit, cursor=cursor, json_output=json_output
    )
    run(listing, json_output=json_output)


def task(
    task_id: Annotated[int, typer.Argument(metavar="ID", min=1)],
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Show a task, and how each try of it ended, the latest first.

    [bold]Examples[/bold]
    replicator task 7
    """
    from replicator.cli import tasks as work

    run(work.show(control_plane, task_id, json_output=json_output), json_output=json_output)
