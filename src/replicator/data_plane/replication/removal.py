"""The end of a mirror that deletes: what the source does not have goes from the destination too."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Literal

from replicator.data_plane.ports import Condition, Versioning
from replicator.data_plane.replication.engine import Engine
from replicator.data_plane.replication.goal import Goal, goal_of
from replicator.data_plane.replication.ports import Stretch
from replicator.data_plane.replication.reporting import describe
from replicator.data_plane.replication.source import Source
from replicator.data_plane.replication.work import WorkDone
from replicator.kernel.errors import InvalidRequest, ReplicatorError
from replicator.kernel.names import BucketName
from replicator.wire.sessions import ObjectResult, TaskAssignment, Transfer

Outcome = Literal["deleted", "skipped", "failed"]
_NEAR_KEYS = 256
_Settled = tuple[Goal, Outcome, ReplicatorError | None]


class RemoveRun:
    """One attempt of a `remove` task: see `Work`.

    An object goes only if the source, asked again, does not have it, and only while the version that was too many
    is still its latest here. Where the bucket keeps versions it is deleted as a user would, by a delete marker:
    so no older version comes to light.
    """

    def __init__(self, assignment: TaskAssignment, engine: Engine) -> None:
        self._goals = [goal_of(item) for item in assignment.items]
        self._store = engine.store
        self._source = Source(assignment.source, engine)
        self._settled: queue.SimpleQueue[_Settled] = queue.SimpleQueue()
        self._begun = 0
        self._results: list[ObjectResult] = []

    def run(self) -> WorkDone:
        """See `Work.run`."""
        failure: ReplicatorError | None = None
        try:
            self._source.require_right_node()
            self._begin_all()
        except ReplicatorError as error:
            failure = error
        finally:
            self._source.close()
        # Whatever came in between: what is deleted by now has to be told.
        for _ in range(self._begun):
            self._results.append(_result(*self._settled.get()))
        if failure is not None and not self._results:
            raise failure
        return WorkDone(objects=self._results, error=failure)

    def stop(self) -> None:
        """See `Work.stop`."""
        self._source.stop()

    @property
    def transfer(self) -> Transfer:
        """See `Work.transfer`."""
        outcomes = [result.outcome for result in list(self._results)]
        skipped, failed = outcomes.count("skipped"), outcomes.count("failed")
        return Transfer(
            objects_planned=skipped + failed,
            objects_skipped=skipped,
            objects_failed=failed,
            objects_deleted=outcomes.count("deleted"),
            bytes_wire=self._source.received_bytes,
        )

    def _begin_all(self) -> None:
        goals = sorted(self._goals, key=attrgetter("bucket", "object_id"))
        for bucket, some in groupby(goals, key=attrgetter("bucket")):
            for goal, is_at_source in self._asked(bucket, list(some)):
                self._source.require_going_on()
                if is_at_source:
                    self._settled.put((goal, "skipped", None))
                else:
                    self._begin(goal)
                self._begun += 1

    def _asked(self, bucket: BucketName, goals: Sequence[Goal]) -> Iterator[tuple[Goal, bool]]:
        """Each of `goals`, which are in the order of their keys, and whether the source has that key now.

        By its listing: nothing else tells an object that is not there from one that is damaged. `NotFound` ends the
        task: a source that has lost the whole bucket must not empty it here.
        """
        done, is_dense = "", True
        while goals:
            is_wide = is_dense and bool(done)
            stretch = _wide(bucket, done, goals) if is_wide else _narrow(bucket, goals)
            listing = self._source.listing(stretch, limit=_NEAR_KEYS)
            done = listing.last if listing.more else stretch.until
            there = {entry.object_id for entry in listing.entries}
            told = [goal for goal in goals if goal.object_id <= done]
            yield from ((goal, goal.object_id in there) for goal in told)
            goals = goals[len(told) :]
            # Where the source has many keys between two of them, they are asked for one by one.
            is_dense = len(told) > 1 if is_wide else is_dense

    def _begin(self, goal: Goal) -> None:
        """Start the deletion, or settle at once that there is none."""
        if goal.version is None or goal.manifest is None:
            self._settle(goal, InvalidRequest("a removal must name the version and its manifest"))
            return
        versioned = self._store.bucket(goal.bucket).versioning is not Versioning.OFF
        latest = self._store.head(goal.bucket, goal.object_id)
        if latest is None or latest.version != goal.version:
            # An earlier attempt got so far, or the object was written here since it was found.
            self._settled.put((goal, "deleted" if latest is None else "skipped", None))
            return
        self._store.delete(
            goal.bucket,
            goal.object_id,
            Condition(manifests=frozenset({goal.manifest})),
            lambda _, error: self._settle(goal, error),
            version=None if versioned else goal.version,
        )

    def _settle(self, goal: Goal, error: ReplicatorError | None) -> None:
        self._settled.put((goal, "deleted" if error is None else "failed", error))


def _narrow(bucket: BucketName, goals: Sequence[Goal]) -> Stretch:
    key = goals[0].object_id
    return Stretch(bucket=bucket, prefix=key, until=key)


def _wide(bucket: BucketName, done: str, goals: Sequence[Goal]) -> Stretch:
    """All of `goals`, whose keys are behind `done`."""
    return Stretch(bucket=bucket, after=done, until=goals[-1].object_id)


def _result(goal: Goal, outcome: Outcome, error: ReplicatorError | None) -> ObjectResult:
    return ObjectResult(
        row=goal.row,
        outcome=outcome,
        version=None if goal.version is None else str(goal.version),
        manifest=None if goal.manifest is None else str(goal.manifest),
        size=goal.size,
        error=None if error is None else describe(error),
    )
