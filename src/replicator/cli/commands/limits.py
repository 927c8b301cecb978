"""`replicator limits`, `limits node`, `limits link`."""

from __future__ import annotations

from typing import Annotated

import typer

from replicator.cli.options import CONTROL_PLANE_DEFAULT, ControlPlane, Json
from replicator.cli.running import run

app = typer.Typer(rich_markup_mode="rich")
_RATE_HELP = "Bytes a second, like 10MiB; none takes the limit away."


@app.callback(invoke_without_command=True)
def limits(
    context: typer.Context,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """List the limits of nodes and links, or change one. They hold for what is under way too.

    In a pipe, separated by tabs: ingress, egress or link; source; destination; bytes a second.

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
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Show what a node is held to, or change what is named.

    [bold]Examples[/bold]
    replicator limits node node1
    replicator limits node node1 --ingress 10MiB --egress none
    """
    from replicator.cli import limits as work

    changing = work.node(control_plane, name, ingress=ingress, egress=egress, json_output=json_output)
    run(changing, json_output=json_output)


@app.command()
def link(
    source: Annotated[str, typer.Argument(metavar="SRC", help="The node that sends.")],
    destination: Annotated[str, typer.Argument(metavar="DST", help="The node that receives.")],
    rate: Annotated[str, typer.Argument(metavar="RATE", help=_RATE_HELP)],
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Limit what goes from one node to another.

    [bold]Examples[/bold]
    replicator limits link node1 node2 10MiB
    """
    from replicator.cli import limits as work

    run(work.link(control_plane, source, destination, rate, json_output=json_output), json_output=json_output)
