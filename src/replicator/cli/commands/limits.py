"""`replicator limits`, `limits node`, `limits link`."""

from __future__ import annotations

from typing import Annotated

import typer

from replicator.cli.options import CONTROL_PLANE_DEFAULT, ControlPlane, Json
from replicator.cli.running import run

app = typer.Typer(rich_markup_mode="rich")
_RATE_HELP = "Bytes a second, like 10MiB; none takes the limit away."
_TASKS_HELP = "At a time; none takes the limit away."


@app.callback(invoke_without_command=True)
def limits(
    context: typer.Context,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """List the limits of nodes and links, or change one. Rates hold for what is under way too.

    In a pipe, separated by tabs: ingress, egress, tasks, serves or link;
    source; destination; bytes a second; tasks at a time.

    [bold]Examples[/bold]
    replicator limits
    replicator limits node node1 --egress 50MiB
    replicator limits link node1 node2 10MB
    replicator limits link node1 node2 none
    """
    if context.invoked_subcommand is None:
        from replicator.cli import limits as work

        run(work.ls(control_plane, json_output=json_output), json_output=json_output)


@app.command()
def node(
    name: Annotated[str, typer.Argument(metavar="NODE", help="Its name.")],
    ingress: Annotated[
        str | None, typer.Option(metavar="RATE", help=f"What it receives. {_RATE_HELP}")
    ] = None,
    egress: Annotated[str | None, typer.Option(metavar="RATE", help=f"What it sends. {_RATE_HELP}")] = None,
    tasks_max: Annotated[
        str | None, typer.Option("--tasks-max", metavar="N", help=f"Tasks that it has in hand. {_TASKS_HELP}")
    ] = None,
    serves_max: Annotated[
        str | None,
        typer.Option("--serves-max", metavar="N", help=f"Tasks of others that read from it. {_TASKS_HELP}"),
    ] = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Show what a node is held to, or change what is named.

    [bold]Examples[/bold]
    replicator limits node node1
    replicator limits node node1 --ingress 10MiB --egress none
    replicator limits node node1 --serves-max 4
    """
    from replicator.cli import limits as work

    wanted = work.NodeChange(ingress=ingress, egress=egress, tasks_max=tasks_max, serves_max=serves_max)
    changing = work.node(control_plane, name, wanted, json_output=json_output)
    run(changing, json_output=json_output)


@app.command()
def link(
    source: Annotated[str, typer.Argument(metavar="SRC", help="The node that sends.")],
    destination: Annotated[str, typer.Argument(metavar="DST", help="The node that receives.")],
    rate: Annotated[str | None, typer.Argument(metavar="[RATE]", help=_RATE_HELP)] = None,
    tasks_max: Annotated[
        str | None, typer.Option("--tasks-max", metavar="N", help=f"Tasks. {_TASKS_HELP}")
    ] = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Limit what goes from one node to another; what is not named stays.

    [bold]Examples[/bold]
    replicator limits link node1 node2 10MiB
    replicator limits link node1 node2 --tasks-max 2
    """
    from replicator.cli import limits as work

    if rate is None and tasks_max is None:
        raise typer.BadParameter("name a RATE, --tasks-max, or both")
    wanted = work.LinkChange(rate=rate, tasks_max=tasks_max)
    changing = work.link(control_plane, source, destination, wanted, json_output=json_output)
    run(changing, json_output=json_output)
