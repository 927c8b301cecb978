"""An operator sees which sources are in trouble, and how fast the others were."""

import random

from prometheus_client import generate_latest

from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.replication.links import Links
from replicator.kernel.errors import PeerUnreachable
from replicator.kernel.names import NodeName
from replicator.testing.clock import FrozenClock

MIB = 1 << 20


def test_each_source_has_a_state_and_once_measured_a_rate() -> None:
    clock = FrozenClock()
    links = Links(clock, random.Random(1), failures_max=1)
    metrics = NodeMetrics()
    metrics.watch_links(links)
    links.of(NodeName("quick")).worked(10 * MIB, 0.5)
    links.of(NodeName("down")).failed(PeerUnreachable("no answer"))
    links.of(NodeName("back")).failed(PeerUnreachable("no answer"))
    assert _samples(metrics) == {
        'link_state{source="quick"} 0.0',
        f'link_bytes_per_second{{source="quick"}} {20 * MIB}.0',
        'link_state{source="down"} 2.0',
        'link_state{source="back"} 2.0',
    }
    clock.now_ms += 3_600_000
    assert 'link_state{source="back"} 1.0' in _samples(metrics)


def _samples(metrics: NodeMetrics) -> set[str]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    begin = "replicator_node_"
    found = {line.removeprefix(begin) for line in lines if line.startswith(f"{begin}link_")}
    return {_plain(line) for line in found}


def _plain(line: str) -> str:
    name, value = line.rsplit(" ", 1)
    return f"{name} {float(value):.1f}"
