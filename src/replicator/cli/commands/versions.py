"""`replicator versions | cp`."""

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


def versions(
    node: Node,
    object_id: Annotated[
        str | None, typer.Argument(metavar="OBJECT_ID", help="Without it, every object of the bucket.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Of every object, only ids that begin so.")] = "",
    limit: LimitOption = None,
    cursor: CursorOption = None,
    bucket: Bucket = BUCKET_DEFAULT,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """List the versions and delete markers of an object, or of all in a bucket, newest first.

    In a pipe, separated by tabs: version, kind, size in bytes, time, entity
    tag; the id first where it is all of a bucket.

    [bold]Examples[/bold]
    replicator versions node1 notes.txt
    replicator versions node1 --bucket photos --prefix 2025/
    """
    from replicator.cli import versions as work
    from replicator.cli.place import Place

    place = Place(node=node, bucket=bucket, control_plane=control_plane, json_output=json_output)
    run(work.versions(place, object_id, prefix=prefix, limit=limit, cursor=cursor), json_output=json_output)


def cp(
    node: Node,
    source: Annotated[str, typer.Argument(metavar="SRC", help="The object to copy, by its id.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="The object to make, by its id.")],
    version: VersionOption = None,
    to_bucket: Annotated[
        str | None, typer.Option(metavar="BUCKET", help="The bucket of DST; without it, that of SRC.")
    ] = None,
    if_absent: Annotated[
        bool, typer.Option("--if-absent", help="Only if there is no object of that id.")
    ] = False,
    bucket: Bucket = BUCKET_DEFAULT,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Copy an object on its node, or restore an older version of it: at once, whatever its size.

    A version is restored by copying it to its own object: it becomes the latest
    again.

    [bold]Examples[/bold]
    replicator cp node1 notes.txt notes-copy.txt
    replicator cp node1 notes.txt notes.txt --version 019f3b2c4d5e0000a1b2c3d4e5f60718
    """
    from replicator.cli import versions as work
    from replicator.cli.place import Place

    place = Place(node=node, bucket=bucket, control_plane=control_plane, json_output=json_output)
    copying = work.cp(place, source, target, version=version, to_bucket=to_bucket, if_absent=if_absent)
    run(copying, json_output=json_output)
