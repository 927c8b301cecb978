"""`replicator explain job | task | node`."""

from __future__ import annotations

from typing import Annotated

import typer

from replicator.cli.options import CONTROL_PLANE_DEFAULT, ControlPlane, Json
from replicator.cli.running import run

app = typer.Typer(rich_markup_mode="rich", no_args_is_help=True)


@app.callback()
def explain() -> None:
    """Say why a job, a task or a node is in its state, and what would change that.

    [bold]Examples[/bold]
    replicator explain job 5
    replicator explain task 7
    replicator explain node node1
    """


@app.command()
def job(
    job_id: Annotated[int, typer.Argument(metavar="ID", min=1)],
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Say what a job waits for, that it moves, or why it ended as it did.

    [bold]Examples[/bold]
    replicator explain job 5
    """
    from replicator.cli import explain as work

    run(work.job(control_plane, job_id, json_output=json_output), json_output=json_output)


@app.command()
def task(
    task_id: Annotated[int, typer.Argument(metavar="ID", min=1)],
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Say whom a task waits for, who has it in hand, or why it ended as it did.

    [bold]Examples[/bold]
    replicator explain task 7
    """
    from replicator.cli import explain as work

    run(work.task(control_plane, task_id, json_output=json_output), json_output=json_output)


@app.command()
def node(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Say why a node gets work, or none.

    [bold]Examples[/bold]
    replicator explain node node1
    """
    from replicator.cli import explain as work

    run(work.node(control_plane, name, json_output=json_output), json_output=json_output)
