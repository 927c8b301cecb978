"""What the control plane measures of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from replicator.control_plane.domain.duty import Group
from replicator.control_plane.domain.job import JobState
from replicator.control_plane.domain.task import TERMINAL, TaskState
from replicator.kernel.clock import Clock

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_UNITS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """How many of everything there are just now."""

    jobs: Mapping[JobState, int]
    tasks: Mapping[str, int]
    nodes: int
    nodes_connected: int
    ready_s: float = 0
    """Since when the oldest ready task of a connected node waits; `ready_away_s` of one that is not."""
    ready_away_s: float = 0
    ended_s: float = 0
    """How long ago the first of the ended jobs that are not in history ended, and `history_s` of those that are."""
    history_s: float = 0
    event_streams: int = 0
    duties_held: frozenset[str] = frozenset()
    """Groups of duties whose lease the replica that answers has."""


class Metrics:
    """One registry; its text is made by `replicator.runtime.metrics`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.registry = CollectorRegistry()
        self._jobs = Gauge(
            "replicator_jobs", "Jobs, but for those in history.", ["state"], registry=self.registry
        )
        self._tasks = Gauge(
            "replicator_tasks", "Tasks that have not ended.", ["state"], registry=self.registry
        )
        self._nodes = Gauge("replicator_nodes", "Nodes.", ["status"], registry=self.registry)
        self._event_streams = Gauge(
            "replicator_event_streams", "Streams of job events that are open.", registry=self.registry
        )
        self._duty_holder = Gauge(
            "replicator_duty_holder", "Whether this replica does the duty.", ["duty"], registry=self.registry
        )
        self._ready = Gauge(
            "replicator_ready_oldest_seconds",
            "How long the oldest ready task has waited, by the status of its node.",
            ["node_status"],
            registry=self.registry,
        )
        self._ended = Gauge(
            "replicator_ended_oldest_seconds",
            "How long ago the first of the ended jobs ended that are kept, by where.",
            ["kept"],
            registry=self.registry,
        )
        self._happened = {
            "task": self._counter("replicator_task_transitions", "Tasks that went into a state.", "state"),
            "job": self._counter("replicator_job_transitions", "Jobs that went into a state.", "state"),
            "session": self._counter("replicator_sessions", "What happened to sessions.", "event"),
            "duty": self._counter("replicator_duty_terms", "Terms of duties that began here.", "duty"),
            "join": self._counter("replicator_joins", "Nodes told to join, by how that went.", "outcome"),
        }
        # Found once for each event: finding the counter of a label takes longer than counting.
        self._counters: dict[str, Counter | None] = {}
        self._refused = Counter(
            "replicator_results_refused", "Results refused as stale.", registry=self.registry
        )
        self._corrupt = Counter(
            "replicator_corrupt_sources",
            "Damaged chunks at sources, as destinations report them.",
            registry=self.registry,
        )
        self._polls = Histogram(
            "replicator_poll_seconds",
            "Answering a poll, its wait included.",
            buckets=(*_SECONDS, 30),
            registry=self.registry,
        )
        self._transactions = Histogram(
            "replicator_transaction_seconds",
            "From asking for a transaction to its end, the queue included.",
            ["kind"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._commits = Histogram(
            "replicator_commit_units",
            "Units of work made durable by one commit.",
            buckets=_UNITS,
            registry=self.registry,
        )

        self._turns = Histogram(
            "replicator_turn_wait_seconds",
            "Waiting for the turn to write, which one replica has at a time; Postgres only.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._reruns = self._counter(
            "replicator_database_reruns", "Commits that were tried again, by why.", "kind"
        )
        self._outcomes = self._counter(
            "replicator_commit_outcomes",
            "Commits whose answer was lost, by what was found out about them.",
            "outcome",
        )

    def count(self, event: str) -> None:
        """`event` has happened; its name is `what.how`."""
        if event not in self._counters:
            self._counters[event] = self._counter_of(event)
        counter = self._counters[event]
        if counter is not None:
            counter.inc()

    def _counter_of(self, event: str) -> Counter | None:
        what, _, how = event.partition(".")
        if event == "result.refused":
            return self._refused
        if event == "source.corrupt":
            return self._corrupt
        return self._happened[what].labels(how) if what in self._happened and event != "job.changed" else None

    def committed(self, units: int) -> None:
        """One commit has made `units` durable."""
        self._commits.observe(units)

    def turn_taken(self, waited_s: float) -> None:
        """The turn to write was waited for so long."""
        self._turns.observe(waited_s)

    def rerun(self, kind: str) -> None:
        """A commit is tried again."""
        self._reruns.labels(kind).inc()

    def outcome_found(self, *, committed: bool) -> None:
        """What became of a commit whose answer was lost is known now."""
        self._outcomes.labels("committed" if committed else "undone").inc()

    @contextmanager
    def time_poll(self) -> Iterator[None]:
        """Measures one poll."""
        begun_s = self._clock.monotonic_s()
        try:
            yield
        finally:
            self._polls.observe(self._clock.monotonic_s() - begun_s)

    @contextmanager
    def time_transaction(self, kind: str) -> Iterator[None]:
        """Measures one `read` or `write`."""
        begun_s = self._clock.monotonic_s()
        try:
            yield
        finally:
            self._transactions.labels(kind).observe(self._clock.monotonic_s() - begun_s)

    def set_population(self, population: Population) -> None:
        """What is shown until the next time."""
        for job_state in JobState:
            self._jobs.labels(job_state).set(population.jobs.get(job_state, 0))
        for task_state in TaskState:
            if task_state not in TERMINAL:
                self._tasks.labels(task_state).set(population.tasks.get(task_state, 0))
        self._nodes.labels("connected").set(population.nodes_connected)
        self._nodes.labels("disconnected").set(population.nodes - population.nodes_connected)
        self._event_streams.set(population.event_streams)
        self._ready.labels("connected").set(population.ready_s)
        self._ready.labels("disconnected").set(population.ready_away_s)
        self._ended.labels("jobs").set(population.ended_s)
        self._ended.labels("history").set(population.history_s)
        for group in Group:
            self._duty_holder.labels(group).set(group in population.duties_held)

    def _counter(self, name: str, text: str, label: str) -> Counter:
        return Counter(name, text, [label], registry=self.registry)
