"""`replicator buckets ls | create | set | rm`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from replicator.cli.options import (
    CONTROL_PLANE_DEFAULT,
    ControlPlane,
    CursorOption,
    Json,
    LimitOption,
    Node,
)
from replicator.cli.running import run

app = typer.Typer(
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="What holds objects on a node, and whether it keeps their versions.",
)

Name = Annotated[str, typer.Argument(metavar="BUCKET", help="By S3's rules: 3 to 63 of a-z, 0-9, '.', '-'.")]
Versioning = Literal["off", "on", "suspended"]


@app.command()
def ls(
    node: Node,
    limit: LimitOption = None,
    cursor: CursorOption = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """List the buckets of a node in order of their names.

    In a pipe, separated by tabs: name, versioning, time created.

    [bold]Examples[/bold]
    replicator buckets ls node1
    """
    from replicator.cli import buckets as work
    from replicator.cli.place import Place

    place = Place(node=node, control_plane=control_plane, json_output=json_output)
    run(work.ls(place, limit=limit, cursor=cursor), json_output=json_output)


@app.command()
def create(
    node: Node,
    name: Name,
    versioning: Annotated[Versioning, typer.Option(help="Whether it keeps versions.")] = "off",
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Make a bucket.

    [bold]Examples[/bold]
    replicator buckets create node1 backups --versioning on
    """
    from replicator.cli import buckets as work
    from replicator.cli.place import Place

    place = Place(node=node, control_plane=control_plane, json_output=json_output)
    run(work.create(place, name, versioning), json_output=json_output)


@app.command("set")
def change(
    node: Node,
    name: Name,
    versioning: Annotated[Versioning, typer.Option(help="Once on, it can be suspended, not turned off.")],
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Change whether a bucket keeps versions.

    [bold]Examples[/bold]
    replicator buckets set node1 default --versioning on
    """
    from replicator.cli import buckets as work
    from replicator.cli.place import Place

    place = Place(node=node, control_plane=control_plane, json_output=json_output)
    run(work.change(place, name, versioning), json_output=json_output)


@app.command()
def rm(
    node: Node,
    name: Name,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Remove a bucket that holds nothing: no object, no older version, no delete marker.

    [bold]Examples[/bold]
    replicator buckets rm node1 backups
    """
    from replicator.cli import buckets as work
    from replicator.cli.place import Place

    place = Place(node=node, control_plane=control_plane, json_output=json_output)
    run(work.rm(place, name), json_output=json_output)
