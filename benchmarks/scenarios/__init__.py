"""What is measured: each scenario gets a cluster of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.scenarios import (
    compare,
    compression,
    control_plane,
    control_plane_http,
    control_plane_large,
    growth,
    idle,
    listing,
    many,
    migrate,
    reclaim,
    releases,
    small,
    sources,
    stream,
    take_over,
)
from benchmarks.scenarios.bench import Bench


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is measured, and with which cluster.

    Attributes:
        linked: sources and destination are on hosts of their own, where this machine can have them.
        sources: nodes besides the destination.
        prepare: makes stores in the folder of the cluster, before it starts.
    """

    measure: Callable[[Bench], list[Figure]]
    linked: bool = False
    sources: int = 1
    prepare: Callable[[Path, Options, Callable[[str], None]], None] | None = None


SCENARIOS: dict[str, Scenario] = {
    "stream": Scenario(measure=stream.measure),
    "small": Scenario(measure=small.measure),
    "migrate": Scenario(measure=migrate.measure, linked=True),
    "many": Scenario(measure=many.measure, linked=True),
    "sources": Scenario(measure=sources.measure, linked=True, sources=2),
    "compare": Scenario(measure=compare.measure, linked=True, prepare=compare.prepare),
    "releases": Scenario(measure=releases.measure, linked=True),
    "reclaim": Scenario(measure=reclaim.measure),
    "idle": Scenario(measure=idle.measure),
    "listing": Scenario(measure=listing.measure),
    "compression": Scenario(measure=compression.measure),
    "growth": Scenario(measure=growth.measure),
    "transitions": Scenario(measure=control_plane.measure),
    "sessions": Scenario(measure=control_plane_http.measure),
    "large-job": Scenario(measure=control_plane_large.measure),
    "take-over": Scenario(measure=take_over.measure),
}
