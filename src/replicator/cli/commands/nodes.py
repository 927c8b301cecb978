"""`replicator nodes`, `nodes register`, `nodes set`, `nodes maintenance`, `nodes rm`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from replicator.cli.options import CONTROL_PLANE_DEFAULT, ControlPlane, Json
from replicator.cli.running import run

app = typer.Typer(rich_markup_mode="rich")
Status = Literal["connected", "disconnected"]
Switch = Literal["on", "off"]


Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="A label; may be given several times."),
]
_OF_ITSELF = "none for what the node says of itself"


@app.callback(invoke_without_command=True)
def nodes(
    context: typer.Context,
    zone: Annotated[str | None, typer.Option(help="Only nodes that stand there.")] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label", metavar="KEY=VALUE", help="Only nodes with this label; may be given several times."
        ),
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Only nodes that are so.")] = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """List the nodes that the control plane knows, register, change or remove one.

    In a pipe, separated by tabs: name, URL, status, time last seen, problem,
    zone, whether in maintenance, bytes free, bytes in all, tasks in hand,
    labels.

    [bold]Examples[/bold]
    replicator nodes
    replicator nodes --zone eu-1 --label disk=ssd --status connected
    replicator nodes register node1 http://localhost:9001
    replicator nodes rm node1
    """
    if context.invoked_subcommand is None:
        from replicator.cli import nodes as work

        wanted = work.Wanted(zone=zone, labels=label or [], status=status)
        run(work.ls(control_plane, wanted, json_output=json_output), json_output=json_output)


@app.command()
def register(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the node was started as.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the control plane and nodes reach it.")],
    label: Labels = None,
    zone: Annotated[str | None, typer.Option(help="Where it stands.")] = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Add a node, or update the address of the one of that name.

    Labels take the place of those that it has; without any they stay.

    [bold]Examples[/bold]
    replicator nodes register node1 http://localhost:9001
    replicator nodes register node1 http://localhost:9001 --zone eu-1 --label disk=ssd
    """
    from replicator.cli import nodes as work

    registering = work.register(control_plane, name, url, labels=label, zone=zone, json_output=json_output)
    run(registering, json_output=json_output)


@app.command("set")
def change(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="KEY=VALUE",
            help=f"Set it, or take it away where VALUE is empty; {_OF_ITSELF} in the place of all. "
            "May be given several times.",
        ),
    ] = None,
    zone: Annotated[str | None, typer.Option(help=f"Where it stands; {_OF_ITSELF}.")] = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Change the labels or the zone of a node; what is not named stays.

    [bold]Examples[/bold]
    replicator nodes set node1 --zone eu-2 --label disk=ssd --label rack=
    replicator nodes set node1 --zone none
    """
    from replicator.cli import nodes as work

    changing = work.change(control_plane, name, labels=label or [], zone=zone, json_output=json_output)
    run(changing, json_output=json_output)


@app.command()
def maintenance(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    state: Annotated[Switch, typer.Argument(metavar="on|off")],
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Give a node no new work, and none that reads from it; or give it work again.

    What it has in hand goes on: it is idle when `replicator nodes` shows no
    tasks in hand.

    [bold]Examples[/bold]
    replicator nodes maintenance node1 on
    replicator nodes maintenance node1 off
    """
    from replicator.cli import nodes as work

    switching = work.maintenance(control_plane, name, on=state == "on", json_output=json_output)
    run(switching, json_output=json_output)


@app.command()
def rm(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Forget a node; its objects stay on it. Refused while live jobs use it.

    Put it in maintenance first, and wait for the jobs that use it or cancel
    them.

    [bold]Examples[/bold]
    replicator nodes rm node1
    """
    from replicator.cli import nodes as work

    run(work.rm(control_plane, name, json_output=json_output), json_output=json_output)
