"""What all pulls of a node share."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from replicator.data_plane.ports import Store
from replicator.data_plane.replication.in_flight import InFlight
from replicator.data_plane.replication.links import Links
from replicator.data_plane.replication.ports import OpenPeer
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.reliance import Reliance
from replicator.kernel.clock import Clock

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PullBounds:
    """What one pull may use.

    Attributes:
        streams_per_source: connections that ask one source at the same time.
        streams_max: over all its sources; each has one at least.
        bytes_in_flight_max: bytes asked for that have not arrived.
        silence_s: how long tries in a row may last of which nothing comes; then the source is not asked again.
        patience_s: how long a pull that has nothing else to do waits for others of which nothing comes.
    """

    streams_per_source: int = 2
    streams_max: int = 6
    bytes_in_flight_max: int = 256 * MEBIBYTE
    silence_s: float = 10.0
    patience_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The store, the ways to other nodes, and their bounds. `rng` spreads retries."""

    store: Store
    open_peer: OpenPeer
    pacer: Pacer
    links: Links
    clock: Clock
    rng: random.Random
    reliance: Reliance = field(default_factory=Reliance)
    in_flight: InFlight = field(default_factory=InFlight)
    bounds: PullBounds = field(default_factory=PullBounds)
