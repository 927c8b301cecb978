"""`replicator put | get | ls | rm`."""

from __future__ import annotations

from typing import Annotated

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


def put(
    node: Node,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What to store; - is standard input.")],
    object_id: Annotated[
        str | None, typer.Argument(metavar="OBJECT_ID", help="Its id; without it, the file's name.")
    ] = None,
    content_type: Annotated[
        str | None, typer.Option(help="Kept with the object; without it, guessed from its id.")
    ] = None,
    checksum: Annotated[
        bool, typer.Option("--checksum", help="Read the file twice and have the node check its SHA-256.")
    ] = False,
    if_absent: Annotated[
        bool, typer.Option("--if-absent", help="Only if there is no object of that id.")
    ] = False,
    if_match: Annotated[
        str | None, typer.Option(metavar="ETAG", help="Only if the object there has this entity tag.")
    ] = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Store a file as an object on a node. It is durable when this returns.

    [bold]Examples[/bold]
    replicator put node1 backup.tar
    tar c photos | replicator put node1 - photos.tar
    replicator put http://localhost:9001 notes.txt docs/notes.txt --if-absent
    """
    from replicator.cli import objects

    wanted = objects.PutOptions(
        content_type=content_type, checksum=checksum, if_absent=if_absent, if_match=if_match
    )
    place = objects.Place(node=node, control_plane=control_plane, json_output=json_output)
    run(objects.put(place, file, object_id, wanted), json_output=json_output)


def get(
    node: Node,
    object_id: Annotated[str, typer.Argument(metavar="OBJECT_ID")],
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="Where to: a file, a folder, or - for standard output. Without it, here, "
            "under the last part of the id.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a file that exists.")] = False,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Fetch an object from a node. A file appears whole or not at all.

    [bold]Examples[/bold]
    replicator get node2 backup.tar
    replicator get node2 photos.tar - | tar x
    """
    from replicator.cli import objects

    place = objects.Place(node=node, control_plane=control_plane, json_output=json_output)
    run(objects.get(place, object_id, file, force=force), json_output=json_output)


def ls(
    node: Node,
    prefix: Annotated[
        str, typer.Argument(metavar="PREFIX", help="Only ids that begin so.", show_default=False)
    ] = "",
    limit: LimitOption = None,
    cursor: CursorOption = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """List the objects of a node in order of their ids.

    In a pipe, separated by tabs: id, size in bytes, time, entity tag.

    [bold]Examples[/bold]
    replicator ls node1
    replicator ls node1 docs/ --json
    """
    from replicator.cli import objects

    place = objects.Place(node=node, control_plane=control_plane, json_output=json_output)
    run(objects.ls(place, prefix, limit=limit, cursor=cursor), json_output=json_output)


def rm(
    node: Node,
    object_ids: Annotated[list[str], typer.Argument(metavar="OBJECT_ID...")],
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Delete objects from a node, and from no other.

    Those that are not there are reported and passed over.
    The exit code is that of the first failure.

    [bold]Examples[/bold]
    replicator rm node1 backup.tar docs/notes.txt
    """
    from replicator.cli import objects

    place = objects.Place(node=node, control_plane=control_plane, json_output=json_output)
    run(objects.rm(place, object_ids), json_output=json_output)
