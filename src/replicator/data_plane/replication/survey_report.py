"""What a survey has found so far: counts, findings, trees and the plan of a dry run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from replicator.data_plane.ports import Store
from replicator.data_plane.replication.compare import Pair, finding_of
from replicator.data_plane.replication.cursor import Position, Progress
from replicator.data_plane.replication.estimate import Estimate
from replicator.data_plane.replication.filters import compile_filter
from replicator.data_plane.replication.ports import Entry
from replicator.data_plane.replication.proofs import Proofs
from replicator.data_plane.replication.source import Source
from replicator.data_plane.replication.standing import is_superseded
from replicator.data_plane.replication.survey_walk import Stretched
from replicator.kernel.merkle import encode_bucket, encode_entry
from replicator.kernel.names import BucketName
from replicator.wire.sessions import BYTES_MAX, Finding, Found, Survey, SurveyResult

_BATCH_PAIRS = 256
_BATCH_PROVED_BYTES = 64 * 1024 * 1024
_TO_TRANSFER: frozenset[Finding] = frozenset({"absent", "differs"})


class SurveyReport:
    """Takes the stretches of a walk, a batch of pairs at a time.

    Args:
        progress: where the walk stands; moved on with every batch.
        estimate: None unless it is a dry run.
        is_time_over: asked by `is_over`.

    Attributes:
        result: complete but for the cursor, the roots and the plan.
        objects_to_delete: extras found.
    """

    def __init__(
        self,
        survey: Survey,
        *,
        store: Store,
        source: Source,
        progress: Progress,
        estimate: Estimate | None,
        is_time_over: Callable[[], bool],
        result: SurveyResult,
    ) -> None:
        self.result = result
        self.objects_to_delete = 0
        self._survey = survey
        self._store = store
        self._source = source
        self._progress = progress
        self._estimate = estimate
        self._is_time_over = is_time_over
        self._proofs = Proofs(store, source)
        self._passes = compile_filter(survey.filter, now_ms=progress.began_ms)
        self._extras = survey.extras or survey.roots
        self._findings_per_pair = 3 if survey.read_data else 1

    def take(self, stretched: Stretched) -> bool:
        """Deal with a stretch; False where the task has to end before the end of it."""
        self._enter(stretched.bucket)
        progress = self._progress
        meant = (pair for pair in stretched.pairs if self._is_meant(pair))
        while batch := self._next_batch(meant):
            self._deal_with(stretched.bucket, batch)
            last = batch[-1].chosen
            progress.position = progress.position._replace(key=last.object_id, version=last.version)
            if self.is_over():
                return False
            self._source.require_going_on()
        if stretched.unknown is not None:
            self.result.unknown.append(stretched.unknown)
        return True

    def is_over(self) -> bool:
        """Whether the task has to end here, the result being full or the time over; a dry run goes on."""
        if self._survey.dry_run:
            return False
        found = len(self.result.found)
        is_full = found > 0 and self._survey.found_max - found < self._findings_per_pair
        return is_full or self._is_time_over()

    def _enter(self, bucket: BucketName) -> None:
        progress = self._progress
        if progress.position.bucket != bucket:
            progress.position = Position(ids=progress.position.ids, bucket=bucket)
            for tree in (progress.source, progress.destination):
                tree.add(encode_bucket(bucket))

    def _is_meant(self, pair: Pair) -> bool:
        return (pair.source is not None or self._extras) and self._passes(pair.chosen)

    def _next_batch(self, pairs: Iterator[Pair]) -> list[Pair]:
        """As many as the result has room for, whatever comes of them."""
        room = (self._survey.found_max - len(self.result.found)) // self._findings_per_pair
        count = _BATCH_PAIRS if self._survey.dry_run else max(1, min(_BATCH_PAIRS, room))
        size_max = _BATCH_PROVED_BYTES if self._survey.read_data else BYTES_MAX
        batch, size = [], 0
        for pair in islice(pairs, count):
            batch.append(pair)
            size += pair.chosen.size
            if size >= size_max:
                break
        return batch

    def _deal_with(self, bucket: BucketName, batch: Sequence[Pair]) -> None:
        if self._survey.roots:
            self._add_to_trees(batch)
        findings = [self._finding(bucket, pair) for pair in batch]
        agreeing = {index for index, finding in enumerate(findings) if finding is None}
        for pair, finding in zip(batch, findings, strict=True):
            if finding is not None:
                self._report(finding, bucket, pair.chosen)
        if self._survey.read_data:
            for index, finding, entry in self._proofs.corrupt(bucket, batch):
                agreeing.discard(index)
                self._report(finding, bucket, entry)
        self.result.compared += len(batch)
        self.result.unchanged += len(agreeing)
        self.result.unchanged_bytes += sum(batch[index].chosen.size for index in agreeing)
        if self._estimate is not None:
            self._add_to_plan(self._estimate, bucket, batch, findings)

    def _finding(self, bucket: BucketName, pair: Pair) -> Finding | None:
        finding = finding_of(pair)
        if finding == "absent" and is_superseded(
            self._store, bucket, pair.chosen, all_versions=self._survey.all_versions
        ):
            return "newer"
        return "same" if finding is None and self._survey.same else finding

    def _add_to_trees(self, batch: Sequence[Pair]) -> None:
        for source, destination in batch:
            if source is not None:
                leaf = encode_entry(source.object_id, source.version, source.manifest)
                self._progress.source.add(leaf)
            if destination is not None:
                leaf = encode_entry(destination.object_id, destination.version, destination.manifest)
                self._progress.destination.add(leaf)

    def _add_to_plan(
        self,
        estimate: Estimate,
        bucket: BucketName,
        batch: Sequence[Pair],
        findings: Sequence[Finding | None],
    ) -> None:
        found = list(zip(batch, findings, strict=True))
        self.objects_to_delete += findings.count("extra")
        to_come = [pair.chosen for pair, finding in found if finding in _TO_TRANSFER]
        for entry in estimate.add(bucket, to_come):
            self._report("corrupt-at-source", bucket, entry)

    def _report(self, finding: Finding, bucket: BucketName, entry: Entry) -> None:
        if self._survey.dry_run and len(self.result.found) >= self._survey.found_max:
            return
        self.result.found.append(
            Found(
                finding=finding,
                bucket=bucket,
                object_id=entry.object_id,
                version=str(entry.version),
                manifest=str(entry.manifest),
                size=entry.size,
            )
        )
