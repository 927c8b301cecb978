"""A survey: what two nodes hold under the same names, compared by the destination.

A task goes on from its cursor for some seconds, or until its result is full; a dry run goes to the end. What is
found is what both sides listed as the walk came by. Every key is come by once, and whoever acts on a finding
names the version that was found.
"""

from __future__ import annotations

from replicator.data_plane.replication.cursor import Progress, decode_cursor, encode_cursor
from replicator.data_plane.replication.engine import Engine
from replicator.data_plane.replication.estimate import Estimate
from replicator.data_plane.replication.seen import SeenDigests
from replicator.data_plane.replication.source import Source
from replicator.data_plane.replication.survey_report import SurveyReport
from replicator.data_plane.replication.survey_walk import Lists, Walk
from replicator.data_plane.replication.work import WorkDone
from replicator.kernel.errors import InvalidRequest
from replicator.kernel.names import NodeName
from replicator.wire.replication import LIST_KEYS_MAX
from replicator.wire.sessions import Plan, SurveyResult, TaskAssignment, Transfer

TASK_S = 10.0


class SurveyRun:
    """One attempt of a `survey` task: see `Work`.

    Args:
        own: lists the engine's store.
        folder: takes the file of a large dry run.
        task_s: how many seconds to go on; at least one batch of keys is compared.
        stretch_keys: how many keys are compared by one digest.

    Raises:
        InvalidRequest: the task says nothing of a survey.
    """

    def __init__(
        self,
        assignment: TaskAssignment,
        engine: Engine,
        *,
        own: Lists,
        folder: str,
        task_s: float = TASK_S,
        stretch_keys: int = LIST_KEYS_MAX,
    ) -> None:
        if assignment.survey is None:
            raise InvalidRequest("a survey task without a survey")
        self._survey = assignment.survey
        self._engine = engine
        self._link = engine.links.of(NodeName(assignment.source.node))
        self._own = own
        self._folder = folder
        self._task_s = task_s
        self._stretch_keys = stretch_keys
        self._source = Source(assignment.source, engine)
        self._result = SurveyResult()

    def run(self) -> WorkDone:
        """See `Work.run`."""
        survey = self._survey
        try:
            self._source.require_right_node()
            progress = (
                Progress(self._engine.clock.wall_ms())
                if survey.cursor is None
                else decode_cursor(survey, survey.cursor)
            )
            with SeenDigests(self._folder) as seen:
                self._go_on(progress, self._estimate(seen) if survey.dry_run else None)
        finally:
            self._source.close()
        return WorkDone(survey=self._result)

    def stop(self) -> None:
        """See `Work.stop`."""
        self._source.stop()

    @property
    def transfer(self) -> Transfer:
        """See `Work.transfer`: what is the same on both sides counts as skipped."""
        unchanged, size = self._result.unchanged, self._result.unchanged_bytes
        return Transfer(
            objects_planned=unchanged,
            objects_skipped=unchanged,
            bytes_logical=size,
            bytes_deduplicated=size,
            bytes_wire=self._source.received_bytes,
        )

    def _go_on(self, progress: Progress, estimate: Estimate | None) -> None:
        until_s = self._engine.clock.monotonic_s() + self._task_s
        walk = Walk(
            self._survey,
            source=self._source,
            store=self._engine.store,
            own=self._own,
            limit=self._stretch_keys,
        )
        report = SurveyReport(
            self._survey,
            store=self._engine.store,
            source=self._source,
            progress=progress,
            estimate=estimate,
            is_time_over=lambda: self._engine.clock.monotonic_s() >= until_s,
            result=self._result,
        )
        start = progress.position
        for stretched in walk.stretches(start):
            self._source.require_going_on()
            taken = report.take(stretched)
            if taken:
                progress.position = stretched.end
            # A task gets on at least a little, however slow the first stretch was.
            if not taken or (stretched.end != start and report.is_over()):
                self._result.cursor = encode_cursor(self._survey, progress)
                return
        if self._survey.roots:
            self._result.source_root = str(progress.source.root())
            self._result.destination_root = str(progress.destination.root())
        if estimate is not None:
            self._result.plan = self._plan(estimate, report)

    def _estimate(self, seen: SeenDigests) -> Estimate:
        return Estimate(store=self._engine.store, source=self._source, seen=seen, rng=self._engine.rng)

    def _plan(self, estimate: Estimate, report: SurveyReport) -> Plan:
        return estimate.plan(
            objects_unchanged=self._result.unchanged,
            objects_to_delete=report.objects_to_delete,
            link_bytes_per_second=self._link.rate_bytes_per_s,
        )
