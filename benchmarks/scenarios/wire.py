"""What migrations cost on the wire."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import Figure, Limit
from benchmarks.migrations import Migration

_OVERHEAD_GOAL = 0.01


def overhead_figure(
    name: str, migrations: Sequence[Migration], content_bytes: int, *, goal: bool = False
) -> Figure:
    """Bytes on the wire, both ways, beyond those of the content, as a share of these."""
    return Figure(
        name=f"{name}, overhead on the wire",
        unit="of content",
        better="lower",
        rounds=tuple(each.wire_bytes / content_bytes - 1 for each in migrations),
        goal=_OVERHEAD_GOAL if goal else None,
        note=counted_by(migrations),
    )


def megabytes_figure(
    name: str, migrations: Sequence[Migration], *, goal: float | None, limit: float | None = None
) -> Figure:
    """Megabytes on the wire, both ways, everything counted."""
    limits = () if limit is None else (Limit(name="bytes changed", rounds=(limit,)),)
    return Figure(
        name=f"{name}, on the wire",
        unit="MB",
        better="lower",
        rounds=tuple(each.wire_bytes / 1e6 for each in migrations),
        limits=limits,
        goal=goal,
        note=counted_by(migrations),
    )


def counted_by(migrations: Sequence[Migration]) -> str:
    """Who counted."""
    counted = all(each.link_bytes is not None for each in migrations)
    return "counted at the network device" if counted else "counted by the nodes"
