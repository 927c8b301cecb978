"""`replicator replicas`."""

from __future__ import annotations

from replicator.cli.options import CONTROL_PLANE_DEFAULT, ControlPlane, Json
from replicator.cli.running import run


def replicas(json_output: Json = False, control_plane: ControlPlane = CONTROL_PLANE_DEFAULT) -> None:
    """Show the replicas of the control plane that have written within a day, and who does which duty.

    A term grows each time that a duty changes hands.

    In a pipe, separated by tabs: a line a duty with its name, who does it,
    term, since when and until when; then a line a replica with its name and the
    time of its last write.

    [bold]Examples[/bold]
    replicator replicas
    """
    from replicator.cli import replicas as work

    run(work.ls(control_plane, json_output=json_output), json_output=json_output)
