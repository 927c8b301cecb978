"""What a node counts. Names follow OpenMetrics: base units, `_total`, few labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from replicator.data_plane.link_metrics import LinkMetrics
from replicator.data_plane.replication.links import Links
from replicator.data_plane.upkeep import StoreSpace
from replicator.wire.sessions import TaskKind, Transfer

_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE"})
_SECONDS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)


class NodeMetrics:
    """The metrics of one node, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count_requests()
        self._count_tasks()
        self._count_store()
        self._observed: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def watch_space(self, space: Callable[[], StoreSpace]) -> None:
        """Tell what `space` says whenever the metrics are asked for."""
        self.registry.register(_SpaceMetrics(space))

    def watch_links(self, links: Links) -> None:
        """Tell the state and the rate of `links` whenever the metrics are asked for."""
        self.registry.register(LinkMetrics(links))

    def count_task(self, kind: TaskKind, outcome: str, transfer: Transfer) -> None:
        """Count one task that has ended."""
        self.tasks.labels(kind, outcome).inc()
        if kind != "pull":
            return
        self.pulled_objects.labels("verified").inc(transfer.objects_verified)
        self.pulled_objects.labels("skipped").inc(transfer.objects_skipped)
        self.pulled_objects.labels("failed").inc(transfer.objects_failed)
        self.pulled_bytes.labels("transferred").inc(transfer.bytes_transferred)
        self.pulled_bytes.labels("deduplicated").inc(transfer.bytes_deduplicated)
        self.pulled_bytes.labels("saved").inc(transfer.bytes_saved)
        self.pulled_bytes.labels("wire").inc(transfer.bytes_wire)

    def observe(self, method: str, status: int, seconds: float) -> None:
        """Count one request; `status` 0 stands for a client that went away."""
        key = (method if method in _METHODS else "other", status // 100)
        children = self._observed.get(key)
        if children is None:
            outcome = f"{key[1]}xx" if status else "aborted"
            children = (self.requests.labels(key[0], outcome), self.request_seconds.labels(key[0]))
            self._observed[key] = children
        children[0].inc()
        children[1].observe(seconds)

    def observe_rpc(self, method: str, status: str, seconds: float) -> None:
        """Count one gRPC request of a method of the service, by the name of its status."""
        self.rpc_requests.labels(method, status).inc()
        self.rpc_request_seconds.labels(method).observe(seconds)

    def _count_requests(self) -> None:
        self.requests = Counter(
            "replicator_node_requests",
            "Requests by method and status class, operations aside.",
            ["method", "status"],
            registry=self.registry,
        )
        self.connections_refused = Counter(
            "replicator_node_connections_refused",
            "Connections turned away because as many were open as may be.",
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "replicator_node_request_seconds",
            "Time from the request to the end of its response.",
            ["method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.rpc_requests = Counter(
            "replicator_node_rpc_requests",
            "gRPC requests of other nodes by method and status.",
            ["method", "status"],
            registry=self.registry,
        )
        self.rpc_request_seconds = Histogram(
            "replicator_node_rpc_request_seconds",
            "Time from a gRPC request to the end of its reply.",
            ["method"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def _count_tasks(self) -> None:
        self.tasks = Counter(
            "replicator_node_tasks",
            "Ended tasks by kind and outcome.",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self.tasks_in_progress = Gauge(
            "replicator_node_tasks_in_progress",
            "Tasks being carried out, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self.pulled_objects = Counter(
            "replicator_node_pulled_objects",
            "Objects of ended pulls: verified, skipped because they were here, and failed.",
            ["outcome"],
            registry=self.registry,
        )
        self.pulled_bytes = Counter(
            "replicator_node_pulled_bytes",
            "Bytes of pulled objects: transferred, of these saved by delta and compression, and deduplicated; "
            "and all that was received for them, as wire.",
            ["kind"],
            registry=self.registry,
        )
        self.session = Gauge(
            "replicator_node_session",
            "1 while a control plane holds a session with this node.",
            registry=self.registry,
        )

    def _count_store(self) -> None:
        self.ingested_bytes = Counter(
            "replicator_node_ingested_bytes",
            "Bytes of uploaded objects: new chunks, and chunks that were here.",
            ["kind"],
            registry=self.registry,
        )
        self.corrupt_chunks = Counter(
            "replicator_node_corrupt_chunks",
            "Reads that met a chunk that failed its check. Its bytes did not leave the node.",
            registry=self.registry,
        )
        self.store_failed = Gauge(
            "replicator_node_store_failed",
            "1 once the store takes no more writes; restart the node.",
            registry=self.registry,
        )
        self.scrubbed_bytes = Counter(
            "replicator_node_scrubbed_bytes",
            "Bytes that the scrub has read from the disk.",
            registry=self.registry,
        )
        self.scrub_damage = Counter(
            "replicator_node_scrub_damage",
            "Records in use that the scrub found damaged, by what they hold.",
            ["family"],
            registry=self.registry,
        )


class _SpaceMetrics(Collector):
    def __init__(self, space: Callable[[], StoreSpace]) -> None:
        self._space = space

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        space = self._space()
        yield GaugeMetricFamily("replicator_node_segments", "Segments of the store.", value=space.segments)
        of_segments = GaugeMetricFamily(
            "replicator_node_segment_bytes",
            "Bytes of records in segments: live, which something refers to, and dead.",
            labels=["kind"],
        )
        of_segments.add_metric(["live"], space.live_bytes)
        of_segments.add_metric(["dead"], space.dead_bytes)
        yield of_segments
        yield CounterMetricFamily(
            "replicator_node_reclaimed_bytes",
            "Bytes of disk that compaction has given back.",
            value=space.reclaimed_bytes,
        )
        yield CounterMetricFamily(
            "replicator_node_compaction_bytes",
            "Bytes that compaction has read and copied.",
            value=space.compaction_bytes,
        )
        yield CounterMetricFamily(
            "replicator_node_compacted_segments",
            "Segments that compaction has removed.",
            value=space.compacted_segments,
        )
