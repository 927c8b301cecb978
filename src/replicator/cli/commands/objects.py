"""`replicator put | get | ls | rm`."""

from __future__ import annotations

from typing import Annotated

import typer

from replicator.cli.options import (
    BUCKET_DEFAULT,
    CONTROL_PLANE_DEFAULT,
    Bucket,
    ControlPlane,
    CursorOption,
    Json,
    LimitOption,
    Node,
    VersionOption,
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
    bucket: Bucket = BUCKET_DEFAULT,
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
    from replicator.cli.place import Place

    wanted = objects.PutOptions(
        content_type=content_type, checksum=checksum, if_absent=if_absent, if_match=if_match
    )
    place = Place(node=node, bucket=bucket, control_plane=control_plane, json_output=json_output)
    run(objects.put(place, file, object_id, wanted), json_output=json_output)


def get(
    node: Node,
    object_id: Annotated[str, typer.Argument(metavar="OBJECT_ID", help="The object, by its id.")],
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE",
            help="Where to: a file, a folder, or - for standard output. Without it, here, "
            "under the last part of the id.",
        ),
    ] = None,
    version: VersionOption = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a file that exists.")] = False,
    bucket: Bucket = BUCKET_DEFAULT,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Fetch an object from a node. A file appears whole or not at all.

    [bold]Examples[/bold]
    replicator get node2 backup.tar
    replicator get node2 photos.tar - | tar x
    replicator get node2 notes.txt old.txt --version 019f3b2c4d5e0000a1b2c3d4e5f60718
    """
    from replicator.cli import objects
    from replicator.cli.place import Place

    place = Place(node=node, bucket=bucket, control_plane=control_plane, json_output=json_output)
    run(objects.get(place, object_id, file, version=version, force=force), json_output=json_output)


def ls(
    node: Node,
    prefix: Annotated[
        str, typer.Argument(metavar="PREFIX", help="Only ids that begin so.", show_default=False)
    ] = "",
    delimiter: Annotated[
        str, typer.Option(help="Group ids that hold it behind the prefix, as / groups by folder.")
    ] = "",
    limit: LimitOption = None,
    cursor: CursorOption = None,
    bucket: Bucket = BUCKET_DEFAULT,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """List the objects of a bucket in order of their ids.

    In a pipe, separated by tabs: id, size in bytes, time, entity tag; of a
    group, its prefix alone.

    [bold]Examples[/bold]
    replicator ls node1
    replicator ls node1 docs/ --json
    replicator ls node1 docs/ --delimiter /
    """
    from replicator.cli import objects
    from replicator.cli.place import Place

    place = Place(node=node, bucket=bucket, control_plane=control_plane, json_output=json_output)
    run(objects.ls(place, prefix, delimiter=delimiter, limit=limit, cursor=cursor), json_output=json_output)


def rm(
    node: Node,
    object_ids: Annotated[
        list[str], typer.Argument(metavar="OBJECT_ID...", help="The objects, by their ids.")
    ],
    version: Annotated[
        str | None,
        typer.Option("--version", metavar="VERSION", help="Remove this version or delete marker for good."),
    ] = None,
    bucket: Bucket = BUCKET_DEFAULT,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Delete objects from a node, and from no other.

    Where the bucket keeps versions, they stay behind a delete marker.
    Those that are not there are reported and passed over.
    The exit code is that of the first failure.

    [bold]Examples[/bold]
    replicator rm node1 backup.tar docs/notes.txt
    replicator rm node1 notes.txt --version 019f3b2c4d5e0000a1b2c3d4e5f60718
    """
    from replicator.cli import objects
    from replicator.cli.place import Place

    place = Place(node=node, bucket=bucket, control_plane=control_plane, json_output=json_output)
    run(objects.rm(place, object_ids, version=version), json_output=json_output)
