"""`replicator nodes`, `nodes register`, `nodes rm`."""

from __future__ import annotations

from typing import Annotated

import typer

from replicator.cli.options import CONTROL_PLANE_DEFAULT, ControlPlane, Json
from replicator.cli.running import run

app = typer.Typer(rich_markup_mode="rich")


@app.callback(invoke_without_command=True)
def nodes(
    context: typer.Context,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """List the nodes that the control plane knows, register one, or remove one.

    In a pipe, separated by tabs: name, URL, status, time last seen, problem.

    [bold]Examples[/bold]
    replicator nodes
    replicator nodes register node1 http://localhost:9001
    replicator nodes rm node1
    """
    if context.invoked_subcommand is None:
        from replicator.cli import nodes as work

        run(work.ls(control_plane, json_output=json_output), json_output=json_output)


@app.command()
def register(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the node was started as.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the control plane and nodes reach it.")],
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Add a node, or update the address of the one of that name.

    [bold]Examples[/bold]
    replicator nodes register node1 http://localhost:9001
    """
    from replicator.cli import nodes as work

    run(work.register(control_plane, name, url, json_output=json_output), json_output=json_output)


@app.command()
def rm(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Forget a node; its objects stay on it. Refused while live jobs use it.

    [bold]Examples[/bold]
    replicator nodes rm node1
    """
    from replicator.cli import nodes as work

    run(work.rm(control_plane, name, json_output=json_output), json_output=json_output)
