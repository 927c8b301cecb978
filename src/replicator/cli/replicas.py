"""What `replicas` does."""

from __future__ import annotations

import sys

from replicator.cli.output import print_json, print_rows, short_time
from replicator.cli.tables import Column
from replicator.client.control_plane import ControlPlaneClient


async def ls(control_plane: str, *, json_output: bool) -> None:
    """Show who does which duty, and which replicas there are."""
    async with ControlPlaneClient(control_plane) as client:
        found = await client.replicas()
    if json_output:
        print_json(found)
        return
    print_rows(found.duties, _DUTY_COLUMNS)
    if sys.stdout.isatty():
        print()
    print_rows(found.replicas, _REPLICA_COLUMNS)
    undone = [duty.name for duty in found.duties if duty.holder is None]
    if undone:
        print(f"replicator: nobody does {', '.join(undone)} just now", file=sys.stderr)


_DUTY_COLUMNS = (
    Column("duty", lambda duty: duty.name),
    Column("done by", lambda duty: duty.holder),
    Column("term", lambda duty: duty.term, right=True),
    Column("since", lambda duty: duty.since, short_time, drop=1),
    Column("until", lambda duty: duty.until, short_time, drop=2),
)
_REPLICA_COLUMNS = (
    Column("replica", lambda replica: replica.name),
    Column("last wrote", lambda replica: replica.wrote_at, short_time),
)
