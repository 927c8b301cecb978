"""`replicator store …`: the upkeep of a running node's store, and of one that is not open."""

from __future__ import annotations

from typing import Annotated

import typer

from replicator.cli.commands.processes import PASS_ON, become
from replicator.cli.options import CONTROL_PLANE_DEFAULT, ControlPlane, DryRun, Json, Node
from replicator.cli.running import run

app = typer.Typer(
    rich_markup_mode="rich",
    no_args_is_help=True,
    help="Look after the store of a node: space, damage, backups.",
)
_RUNNING = "On a running node"
_OFFLINE = "On a data folder that no node has open"
_OFFLINE_MODULE = "replicator.data_plane.offline"


@app.command(rich_help_panel=_RUNNING)
def stats(node: Node, json_output: Json = False, control_plane: ControlPlane = CONTROL_PLANE_DEFAULT) -> None:
    """Show what the store holds: live and dead bytes, damage, what is held by work in progress.

    In a pipe, separated by a tab: field, value.

    [bold]Examples[/bold]
    replicator store stats node1
    """
    from replicator.cli import store as work
    from replicator.cli.place import Place

    place = Place(node=node, control_plane=control_plane, json_output=json_output)
    run(work.stats(place), json_output=json_output)


@app.command(rich_help_panel=_RUNNING)
def segments(
    node: Node, json_output: Json = False, control_plane: ControlPlane = CONTROL_PLANE_DEFAULT
) -> None:
    """List the segments, oldest first.

    In a pipe, separated by tabs: number, bytes, live bytes.

    [bold]Examples[/bold]
    replicator store segments node1
    """
    from replicator.cli import store as work
    from replicator.cli.place import Place

    place = Place(node=node, control_plane=control_plane, json_output=json_output)
    run(work.segments(place), json_output=json_output)


@app.command(rich_help_panel=_RUNNING)
def gc(
    node: Node,
    grace_s: Annotated[
        float | None,
        typer.Option(
            "--grace-s",
            metavar="SECONDS",
            min=0,
            help="How long ago the last version must be gone; without it, as the node's setting says.",
        ),
    ] = None,
    dry_run: DryRun = False,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Collect garbage: drop what no version has referred to for the time of grace.

    The node does this by itself now and then. Its space comes back by
    compaction.

    [bold]Examples[/bold]
    replicator store gc node1 --dry-run
    replicator store gc node1 --grace-s 0
    """
    from replicator.cli import store as work
    from replicator.cli.place import Place

    place = Place(node=node, control_plane=control_plane, json_output=json_output)
    run(work.gc(place, grace_s=grace_s, dry_run=dry_run), json_output=json_output)


@app.command(rich_help_panel=_RUNNING)
def compact(
    node: Node,
    dry_run: DryRun = False,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Give space back: rewrite the segments with the most dead bytes, at full speed.

    The node does this by itself too, at the rate of its settings.

    [bold]Examples[/bold]
    replicator store compact node1
    """
    from replicator.cli import store as work
    from replicator.cli.place import Place

    place = Place(node=node, control_plane=control_plane, json_output=json_output)
    run(work.compact(place, dry_run=dry_run), json_output=json_output)


@app.command(rich_help_panel=_RUNNING)
def explain(
    node: Node,
    digest: Annotated[str, typer.Argument(metavar="DIGEST", help="SHA-256 of the chunk.")],
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Say why a chunk is kept: which versions refer to it, what work in progress holds it.

    [bold]Examples[/bold]
    replicator store explain node1 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """
    from replicator.cli import store as work
    from replicator.cli.place import Place

    place = Place(node=node, control_plane=control_plane, json_output=json_output)
    run(work.explain(place, digest), json_output=json_output)


@app.command(rich_help_panel=_RUNNING)
def scrub(
    node: Node,
    now: Annotated[
        bool, typer.Option("--now", help="Begin to read the whole store once, in the background.")
    ] = False,
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Show how far the scrub is and what it found, or begin one.

    [bold]Examples[/bold]
    replicator store scrub node1
    replicator store scrub node1 --now
    """
    from replicator.cli import store as work
    from replicator.cli.place import Place

    place = Place(node=node, control_plane=control_plane, json_output=json_output)
    run(work.scrub(place, now=now), json_output=json_output)


@app.command(rich_help_panel=_RUNNING)
def backup(
    node: Node,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Of the folder to make below the backup folder.")
    ],
    json_output: Json = False,
    control_plane: ControlPlane = CONTROL_PLANE_DEFAULT,
) -> None:
    """Make a copy of the store as of now, below the backup folder of the node's settings.

    Never start a node on it: replicator store restore makes a data folder from
    it.

    [bold]Examples[/bold]
    replicator store backup node1 2026-01-02
    """
    from replicator.cli import store as work
    from replicator.cli.place import Place

    place = Place(node=node, control_plane=control_plane, json_output=json_output)
    run(work.backup(place, name), json_output=json_output)


@app.command(context_settings=PASS_ON, rich_help_panel=_OFFLINE)
def check(context: typer.Context) -> None:
    """Check a store: --data-dir DIR, with --read-data every byte of it. See its own --help."""
    become(_OFFLINE_MODULE, ["check", *context.args])


@app.command("rebuild-catalog", context_settings=PASS_ON, rich_help_panel=_OFFLINE)
def rebuild_catalog(context: typer.Context) -> None:
    """Make the catalog anew from the segments: --data-dir DIR. See its own --help."""
    become(_OFFLINE_MODULE, ["rebuild-catalog", *context.args])


@app.command(context_settings=PASS_ON, rich_help_panel=_OFFLINE)
def restore(context: typer.Context) -> None:
    """Make a data folder from a backup: BACKUP_DIR DATA_DIR. See its own --help."""
    become(_OFFLINE_MODULE, ["restore", *context.args])
