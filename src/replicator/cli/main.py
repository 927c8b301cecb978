"""The `replicator` command: its words, its help and its end."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from replicator import __version__
from replicator.cli.commands import (
    buckets,
    explain,
    jobs,
    limits,
    nodes,
    objects,
    processes,
    replicas,
    replication,
    store,
    tasks,
    versions,
)
from replicator.cli.exits import EXIT_CODES_HELP, leave
from replicator.cli.options import CONTROL_PLANE_DEFAULT, CONTROL_PLANE_VARIABLE

app = typer.Typer(
    name="replicator",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    epilog=EXIT_CODES_HELP,
)

_SERVERS = "Servers"
_OBJECTS = "Objects"
_REPLICATION = "Replication"
_UPKEEP = "Upkeep"
_TOP = (
    "put",
    "get",
    "ls",
    "rm",
    "versions",
    "cp",
    "migrate",
    "mirror",
    "verify",
    "jobs",
    "job",
    "dead-letters",
    "tasks",
    "task",
    "replicas",
)
_BELOW = {
    "nodes": ("register", "set", "maintenance", "rm"),
    "explain": ("job", "task", "node"),
    "limits": ("node", "link"),
    "buckets": ("ls", "create", "set", "rm"),
    "store": ("stats", "segments", "gc", "compact", "explain", "scrub", "backup"),
}

app.command("control-plane", context_settings=processes.PASS_ON, rich_help_panel=_SERVERS)(
    processes.control_plane
)
app.command("node", context_settings=processes.PASS_ON, rich_help_panel=_SERVERS)(processes.node)
app.command(rich_help_panel=_OBJECTS)(objects.put)
app.command(rich_help_panel=_OBJECTS)(objects.get)
app.command(rich_help_panel=_OBJECTS)(objects.ls)
app.command(rich_help_panel=_OBJECTS)(objects.rm)
app.command(rich_help_panel=_OBJECTS)(versions.versions)
app.command(rich_help_panel=_OBJECTS)(versions.cp)
app.add_typer(buckets.app, name="buckets", rich_help_panel=_OBJECTS)
app.add_typer(store.app, name="store", rich_help_panel=_UPKEEP)
app.command(rich_help_panel=_UPKEEP)(replicas.replicas)
app.command("database", context_settings=processes.PASS_ON, rich_help_panel=_UPKEEP)(processes.database)
app.add_typer(nodes.app, name="nodes", rich_help_panel=_REPLICATION)
app.add_typer(limits.app, name="limits", rich_help_panel=_REPLICATION)
app.command(rich_help_panel=_REPLICATION)(replication.migrate)
app.command(rich_help_panel=_REPLICATION)(replication.mirror)
app.command(rich_help_panel=_REPLICATION)(replication.verify)
app.command(rich_help_panel=_REPLICATION)(jobs.jobs)
app.command(rich_help_panel=_REPLICATION)(jobs.job)
app.command(rich_help_panel=_REPLICATION)(jobs.dead_letters)
app.command(rich_help_panel=_REPLICATION)(tasks.tasks)
app.command(rich_help_panel=_REPLICATION)(tasks.task)
app.add_typer(explain.app, name="explain", rich_help_panel=_REPLICATION)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"replicator {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    control_plane: Annotated[
        str,
        typer.Option(
            "--control-plane", metavar="URL", envvar=CONTROL_PLANE_VARIABLE, help="The control plane."
        ),
    ] = CONTROL_PLANE_DEFAULT,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the release.")
    ] = False,
) -> None:
    """Keeps objects on independent nodes and copies them between nodes, sending only the bytes the other
    side lacks and proving every byte that arrived.

    [bold]Examples[/bold]
    replicator put node1 backup.tar
    replicator migrate node1 node2 backup.tar
    replicator get node2 backup.tar - | sha256sum
    """
    # The option may stand before or after the command; this is the default of the one after it.
    url = {"control_plane": control_plane}
    below = {group: {**url, **dict.fromkeys(names, url)} for group, names in _BELOW.items()}
    context.default_map = {**dict.fromkeys(_TOP, url), **below}


def main() -> None:
    """The console script."""
    code: Any = 0
    try:
        app(prog_name="replicator")
    except SystemExit as end:
        code = end.code
    leave(int(code or 0))


if __name__ == "__main__":
    main()
