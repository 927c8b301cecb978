"""`replicator migrate | mirror | verify`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from replicator.cli.options import CONTROL_PLANE_DEFAULT, WHEN_HELP, ControlPlane, Json
from replicator.cli.running import run

Source = Annotated[str, typer.Argument(metavar="SRC", help="The node that has the objects, by name.")]
Destination = Annotated[str, typer.Argument(metavar="DST", help="The node to bring them to, by name.")]
Prefix = Annotated[str | None, typer.Option(help="Objects whose ids begin so.")]
BucketOption = Annotated[
    str | None, typer.Option("--bucket", "-b", metavar="BUCKET", help="Without it, `default`.")
]
Include = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="Only ids like this; * stops at /, ** does not.")
]
Exclude = Annotated[list[str] | None, typer.Option(metavar="GLOB", help="No ids like this.")]
SizeMin = Annotated[str | None, typer.Option("--min-size", metavar="SIZE", help="At least, like 10MiB.")]
SizeMax = Annotated[str | None, typer.Option("--max-size", metavar="SIZE", help="At most.")]
AgeMin = Annotated[
    str | None, typer.Option("--min-age", metavar="AGE", help="Made at least so long ago: 7d.")
]
AgeMax = Annotated[
    str | None, typer.Option("--max-age", metavar="AGE", help="Made at most so long ago: 12h.")
]
VersionsOption = Annotated[
    Literal["latest", "all"], typer.Option(help="The latest version of each object, or all.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing: say to the byte what a run would do.")
]
Priority = Annotated[int, typer.Option(min=-9, max=9, help="Higher goes first.")]
Bandwidth = Annotated[
    str | None, typer.Option(metavar="RATE", help="Bytes a second at most, like 10MiB; changeable later.")
]
TasksMax = Annotated[
    int | None,
    typer.Option("--tasks-max", metavar="N", min=1, help="Tasks at a time at most; changeable later."),
]
StartAt = Annotated[str | None, typer.Option(metavar="WHEN", help=f"Not before. {WHEN_HELP}")]
Deadline = Annotated[
    str | None, typer.Option(metavar="WHEN", help=f"Cancel it if it has not ended by then. {WHEN_HELP}")
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Show progress until the job has ended.")]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="The same key and request give the same job, however often sent."),
]


def migrate(
    source: Source,
    destination: Destination,
    object_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[OBJECT_ID]...", help="These objects, by their ids.")
    ] = None,
    prefix: Prefix = None,
    bucket: Annotated[
        str | None,
        typer.Option(
            "--bucket", "-b", metavar="BUCKET", help="Without it, `default`; alone, every object of it."
        ),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every object of every bucket.")] = False,
    include: Include = None,
    exclude: Exclude = None,
    size_min: SizeMin = None,
    size_max: SizeMax = None,
    age_min: AgeMin = None,
    age_max: AgeMax = None,
    versions: VersionsOption = "latest",
    move: Annotated[
        bool, typer.Option("--move", help="Delete at SRC each version once it is verified at DST.")
    ] = False,
    dry_run: DryRun = False,
    priority: Priority = 0,
    bandwidth: Bandwidth = None,
    tasks_max: TasksMax = None,
    start_at: StartAt = None,
    deadline: Deadline = None,
    wait: Wait = True,
    idempotency_key: IdempotencyKey = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Copy objects from one node to another; only the bytes that the other lacks travel.

    Ctrl-C ends the waiting, not the job.

    [bold]Examples[/bold]
    replicator migrate node1 node2 backup.tar
    replicator migrate node1 node2 a.tar --no-wait --idempotency-key night17
    replicator migrate node1 node2 --prefix photos/ --include '**.jpg' --max-age 7d
    replicator migrate node1 node2 --all --versions all --dry-run
    replicator migrate node1 node2 --bucket media --start-at 2026-05-31T22:00 --deadline 8h
    """
    from replicator.cli import jobs as work
    from replicator.cli import selection

    async def go() -> int:
        terms = selection.Terms(
            source=source,
            destination=destination,
            dry_run=dry_run,
            priority=priority,
            bandwidth=bandwidth,
            tasks_max=tasks_max,
            start_at=start_at,
            deadline=deadline,
        )
        scope = selection.Scope(
            object_ids=object_ids or (),
            prefix=prefix,
            bucket=bucket,
            everything=everything,
            include=include or (),
            exclude=exclude or (),
            size_min=size_min,
            size_max=size_max,
            age_min=age_min,
            age_max=age_max,
        )
        asked = work.Asked(control_plane=control_plane, json_output=json_output, wait=wait)
        request = selection.migration(terms, scope, versions=versions, move=move)
        return await work.submit(asked, request, idempotency_key=idempotency_key)

    run(go(), json_output=json_output)


def mirror(
    source: Source,
    destination: Destination,
    prefix: Prefix = None,
    bucket: BucketOption = None,
    include: Include = None,
    exclude: Exclude = None,
    size_min: SizeMin = None,
    size_max: SizeMax = None,
    age_min: AgeMin = None,
    age_max: AgeMax = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete at DST what SRC does not have.")] = False,
    deletes_max: Annotated[
        int,
        typer.Option(
            "--max-deletes", min=0, help="If more would have to go, none goes, and the job says so."
        ),
    ] = 1000,
    allow_empty_source: Annotated[
        bool, typer.Option("--allow-empty-source", help="Delete also where SRC has nothing of it at all.")
    ] = False,
    dry_run: DryRun = False,
    priority: Priority = 0,
    bandwidth: Bandwidth = None,
    tasks_max: TasksMax = None,
    start_at: StartAt = None,
    deadline: Deadline = None,
    wait: Wait = True,
    idempotency_key: IdempotencyKey = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Make a prefix, or a whole bucket, on one node equal to another's.

    [bold]Examples[/bold]
    replicator mirror node1 node2 --prefix photos/
    replicator mirror node1 node2 --bucket media --delete --dry-run
    replicator mirror node1 node2 --bucket media --delete --max-deletes 50
    """
    from replicator.cli import jobs as work
    from replicator.cli import selection

    async def go() -> int:
        terms = selection.Terms(
            source=source,
            destination=destination,
            dry_run=dry_run,
            priority=priority,
            bandwidth=bandwidth,
            tasks_max=tasks_max,
            start_at=start_at,
            deadline=deadline,
        )
        scope = selection.Scope(
            prefix=prefix,
            bucket=bucket,
            include=include or (),
            exclude=exclude or (),
            size_min=size_min,
            size_max=size_max,
            age_min=age_min,
            age_max=age_max,
        )
        asked = work.Asked(control_plane=control_plane, json_output=json_output, wait=wait)
        request = selection.mirroring(
            terms, scope, delete=delete, deletes_max=deletes_max, allow_empty_source=allow_empty_source
        )
        return await work.submit(asked, request, idempotency_key=idempotency_key)

    run(go(), json_output=json_output)


def verify(
    source: Source,
    destination: Annotated[str, typer.Argument(metavar="DST", help="The node to compare with, by name.")],
    prefix: Prefix = None,
    bucket: BucketOption = None,
    versions: VersionsOption = "latest",
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Read every byte on both sides, not only what they list.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Prove nothing: say from the listings what DST lacks.")
    ] = False,
    priority: Priority = 0,
    tasks_max: TasksMax = None,
    start_at: StartAt = None,
    deadline: Deadline = None,
    wait: Wait = True,
    idempotency_key: IdempotencyKey = None,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Prove that two nodes agree on a prefix or a bucket: by Merkle roots over keys, versions and contents.

    Prints both roots and what differs. The exit code is 0 only where they
    agree, 6 where they do not.

    [bold]Examples[/bold]
    replicator verify node1 node2 --prefix photos/
    replicator verify node1 node2 --bucket media --versions all --read-data
    """
    from replicator.cli import jobs as work
    from replicator.cli import selection

    async def go() -> int:
        terms = selection.Terms(
            source=source,
            destination=destination,
            dry_run=dry_run,
            priority=priority,
            tasks_max=tasks_max,
            start_at=start_at,
            deadline=deadline,
        )
        scope = selection.Scope(prefix=prefix, bucket=bucket)
        asked = work.Asked(control_plane=control_plane, json_output=json_output, wait=wait)
        request = selection.verification(terms, scope, versions=versions, read_data=read_data)
        return await work.submit(asked, request, idempotency_key=idempotency_key)

    run(go(), json_output=json_output)
