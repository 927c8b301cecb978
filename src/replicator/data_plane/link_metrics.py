"""What a node tells of its ways to other nodes, read from them whenever the metrics are asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from replicator.data_plane.replication.links import Links

_STATES = {"closed": 0, "half-open": 1, "open": 2}


class LinkMetrics(Collector):
    """State and measured rate by source; there are as many as `Links` remembers, at most 1,024."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def describe(self) -> list[Metric]:
        """Nothing to check names against before the first look."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges of this moment."""
        state = GaugeMetricFamily(
            "replicator_node_link_state",
            "The way to a source: 0 works, 1 is tried by one request after failures, 2 is left alone for a while.",
            labels=["source"],
        )
        rate = GaugeMetricFamily(
            "replicator_node_link_bytes_per_second",
            "What came from a source, over the last seconds in which something came.",
            labels=["source"],
        )
        for link in self._links.all():
            state.add_metric([str(link.source)], _STATES[link.state])
            measured = link.rate_bytes_per_s
            if measured is not None:
                rate.add_metric([str(link.source)], measured)
        yield state
        yield rate
