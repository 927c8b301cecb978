"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

CONTROL_PLANE_VARIABLE = "REPLICATOR_CONTROL_PLANE_URL"
CONTROL_PLANE_DEFAULT = "http://localhost:8000"

ControlPlane = Annotated[
    str,
    typer.Option(
        "--control-plane",
        metavar="URL",
        help="The control plane; may also stand before the command: see `replicator --help`.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document; errors as JSON too.")]
Node = Annotated[
    str, typer.Argument(metavar="NODE", help="A registered node's name, or a URL like http://localhost:9001.")
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Stop after so many; without it, list all.")]
CursorOption = Annotated[
    str | None,
    typer.Option(help="Go on where an earlier listing stopped: what that printed behind --cursor."),
]
BUCKET_DEFAULT = "default"
Bucket = Annotated[str, typer.Option("--bucket", "-b", metavar="BUCKET", help="The bucket that holds it.")]
VersionOption = Annotated[
    str | None,
    typer.Option(
        "--version", metavar="VERSION", help="As `replicator versions` shows it; without it, the latest."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
WHEN_HELP = "A moment like 2026-05-31T22:00, local unless it has a zone, or so long from now: 2h."
