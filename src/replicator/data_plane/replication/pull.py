"""The destination's side of a migration: ask, compare, fetch what is missing, verify, commit.

A pull brings a batch of objects. They are offered, looked up, fetched and committed together, so many small ones
cost a few round trips and a few groups of commits; each has an outcome of its own.

The store is the checkpoint. Chunks that arrived stay, whatever becomes of the attempt, so the next attempt
asks only for the rest. Nothing is visible under an object's name before the whole of it is here and
committed, with the version id it has at its source. What is brought is the version that was planned, or none.

A move deletes at the source what is durable here, and reads it back first: from then on this is the only copy.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence

from replicator.data_plane.ports import Hold, Version, Versioning
from replicator.data_plane.replication.asking import Asking
from replicator.data_plane.replication.committing import Commits
from replicator.data_plane.replication.engine import Engine
from replicator.data_plane.replication.fetcher import Fetcher
from replicator.data_plane.replication.gathering import Gathering
from replicator.data_plane.replication.goal import Goal, goal_of
from replicator.data_plane.replication.long_manifest import LongManifest
from replicator.data_plane.replication.moving import Moving
from replicator.data_plane.replication.offering import Offering
from replicator.data_plane.replication.standing import is_superseded
from replicator.data_plane.replication.work import WorkDone
from replicator.kernel.errors import BrokenPeer, Cancelled, Conflict, NotFound, ReplicatorError
from replicator.kernel.manifest import PAGE_ENTRIES
from replicator.kernel.names import BucketName, NodeName
from replicator.runtime.logging import get_logger
from replicator.wire.sessions import TaskAssignment, Transfer

log = get_logger()


class Pull:
    """`Work` that brings the items of `task`."""

    def __init__(self, task: TaskAssignment, engine: Engine) -> None:
        self._task = task
        self._engine = engine
        self._store = engine.store
        self._goals = [goal_of(item) for item in task.items]
        self._cancelled = threading.Event()
        self._peer = engine.open_peer(task.source)
        self._asking = Asking(
            engine, self._peer, source=NodeName(task.source.node), cancelled=self._cancelled
        )
        self._offering = Offering(self._asking, engine.clock)
        self._moving = Moving(self._store, self._asking, reliance=engine.reliance, cancelled=self._cancelled)
        self._commits = Commits(self._store)
        self._fetcher: Fetcher | None = None
        self._has_ended = False

    def run(self) -> WorkDone:
        """See `Work.run`."""
        failure: ReplicatorError | None = None
        try:
            with self._store.hold(f"task {self._task.task_id}") as hold, self._fetching(hold) as fetcher:
                self._fetcher = fetcher
                self._bring_all(hold, fetcher)
        except Cancelled as error:
            failure = error
        finally:
            self._has_ended = True
            self._peer.close()
        return self._done(failure)

    def stop(self) -> None:
        """See `Work.stop`."""
        self._cancelled.set()
        self._peer.close()
        if self._fetcher is not None:
            self._fetcher.stop()

    @property
    def transfer(self) -> Transfer:
        """See `Work.transfer`."""
        goals = self._goals
        transferred = sum(goal.transferred_bytes for goal in goals)
        deduplicated = sum(goal.deduplicated_bytes for goal in goals)
        outcomes = [goal.outcome for goal in goals]
        return Transfer(
            objects_planned=len(goals),
            objects_verified=outcomes.count("verified"),
            objects_skipped=outcomes.count("skipped"),
            objects_failed=outcomes.count("failed"),
            bytes_logical=transferred + deduplicated
            if self._has_ended
            else max(transferred + deduplicated, sum(goal.size for goal in goals)),
            bytes_transferred=transferred,
            bytes_deduplicated=deduplicated,
            bytes_saved=sum(goal.saved_bytes for goal in goals),
            bytes_wire=self._peer.traffic.received + (self._fetcher.wire_bytes if self._fetcher else 0),
        )

    def _fetching(self, hold: Hold) -> Fetcher:
        return Fetcher(
            self._engine,
            hold,
            job=self._task.job_id,
            source=self._task.source,
            others=self._task.others,
            cancelled=self._cancelled,
            learns=len(self._goals) == 1,
        )

    def _bring_all(self, hold: Hold, fetcher: Fetcher) -> None:
        self._offering.ask(self._goals)
        self._recognize_here()
        self._prepare_buckets()
        self._share(hold)
        gathering = Gathering(
            self._engine,
            hold,
            fetcher,
            renew=lambda: self._offering.renew_if_due(self._goals),
            renew_s=lambda: self._offering.wait_s,
        )
        try:
            self._bring(gathering)
        finally:
            for goal, error in self._commits.collect():
                if error is None:
                    goal.end("verified")
                else:
                    goal.fail(error)
            self._keep_what_came()
        if self._task.move:
            self._moving.finish([goal for goal in self._goals if goal.offer and not goal.error])

    def _open(self) -> list[Goal]:
        return [goal for goal in self._goals if goal.outcome is None]

    def _recognize_here(self) -> None:
        """A planned version that has gone at the source and is here: it was moved, or somebody else brought it."""
        for goal in self._goals:
            if isinstance(goal.error, NotFound) and self._moving.was_moved(goal):
                goal.error = None
                goal.end("skipped")

    def _prepare_buckets(self) -> None:
        """Make the buckets that are not here; refuse versions that a bucket here would not keep."""
        newest: dict[tuple[BucketName, str], Goal] = {}
        for goal in sorted(self._open(), key=lambda goal: goal.offered.version, reverse=True):
            kept = newest.setdefault((goal.bucket, goal.object_id), goal)
            if self._versioning(goal) is Versioning.ON:
                continue
            # Those of one object may be in several tasks, so none of these knows which is the one to stay.
            one_of_many = self._task.all_versions and goal.offered.versioning is not Versioning.OFF
            if kept is not goal or one_of_many:
                goal.fail(_not_kept(goal))
            elif is_superseded(self._store, goal.bucket, goal.entry, all_versions=True):
                goal.fail(_superseded(goal))

    def _versioning(self, goal: Goal) -> Versioning:
        try:
            return self._store.bucket(goal.bucket).versioning
        except NotFound:
            return self._store.set_bucket(goal.bucket, goal.offered.versioning).versioning

    def _share(self, hold: Hold) -> None:
        """Settle what needs no fetching: versions that are here, and manifests that are."""
        if self._store.has_damage:
            # What is damaged is found, and brought again, by looking at every chunk.
            return
        for goal in self._open():
            if self._is_here(goal):
                goal.end("skipped")
            elif self._is_pinned(goal, hold):
                self._commits.begin(goal, goal.new_version(shares=True))
        for goal, error in self._commits.collect():
            if error is None:
                goal.end("skipped")
            elif not isinstance(error, NotFound):
                goal.fail(error)

    def _is_here(self, goal: Goal) -> bool:
        here = self._store.version(goal.bucket, goal.object_id, goal.offered.version)
        return isinstance(here, Version) and here.manifest == goal.manifest

    def _is_pinned(self, goal: Goal, hold: Hold) -> bool:
        try:
            self._store.pin(goal.offered.manifest.digest, hold)
        except NotFound:
            return False
        return True

    def _bring(self, gathering: Gathering) -> None:
        """Fetch what is open; whatever arrives whole is being committed afterwards, the rest has failed."""
        try:
            self._bring_short(gathering)
            for goal in self._open():
                if goal.offered.manifest.pages:
                    self._bring_long(gathering, goal)
        except Cancelled:
            raise
        except ReplicatorError as error:
            for goal in self._open():
                if not self._commits.has(goal):
                    goal.fail(error)

    def _bring_short(self, gathering: Gathering) -> None:
        """The objects whose manifests have no pages, together."""
        for goals in _waves([goal for goal in self._open() if not goal.offered.manifest.pages]):
            entries = [ref for goal in goals for ref in goal.offered.manifest.entries]
            lengths = iter(gathering.locate(entries))
            for goal in goals:
                own = list(itertools.islice(lengths, len(goal.offered.manifest.entries)))
                self._want(gathering, goal, own)
            while gathering.is_full:
                self._commit_arrived(gathering)
        while not gathering.is_done:
            self._commit_arrived(gathering)

    def _want(self, gathering: Gathering, goal: Goal, lengths: Sequence[int | None]) -> None:
        entries = goal.offered.manifest.entries
        try:
            gathering.want(goal, entries, lengths, lambda: gathering.earlier(goal))
        except BrokenPeer as error:
            goal.fail(error)

    def _commit_arrived(self, gathering: Gathering) -> None:
        for goal, _, error in gathering.settled():
            if error is None:
                self._commits.begin(goal, goal.new_version())
            else:
                goal.fail(error)

    def _bring_long(self, gathering: Gathering, goal: Goal) -> None:
        def commit(number: int) -> None:
            self._commits.begin(goal, goal.new_version(manifest_number=number))

        try:
            LongManifest(self._store, self._asking, gathering, goal).bring(commit)
        except Cancelled:
            raise
        except ReplicatorError as error:
            goal.fail(error)

    def _keep_what_came(self) -> None:
        """Chunks of goals that did not come whole are for the next attempt."""
        if all(goal.outcome in ("verified", "skipped") for goal in self._goals):
            return
        try:
            self._store.checkpoint()
        except ReplicatorError as error:
            # The goals have failed for another reason, which is the one to report.
            log.warning("pull.not_kept", task=self._task.task_id, reason=error.message)

    def _done(self, failure: ReplicatorError | None) -> WorkDone:
        # A move that was stopped before the deletion is not done, and the next attempt has to hear of it.
        ended = [
            goal
            for goal in self._goals
            if goal.outcome is not None and (not self._task.move or goal.has_left or goal.error is not None)
        ]
        errors = [goal.error for goal in self._goals if goal.error is not None]
        if failure is None and len(errors) == len(self._goals):
            failure = errors[0]
        return WorkDone(
            objects=[goal.result() for goal in ended],
            corrupt=self._fetcher.corrupt if self._fetcher is not None else (),
            error=failure,
        )


def _not_kept(goal: Goal) -> Conflict:
    return Conflict(
        f"bucket '{goal.bucket}' here does not keep versions, so version {goal.version} of '{goal.object_id}' cannot "
        "stay beside a newer one: turn versioning on, or ask for the latest versions alone",
        bucket=str(goal.bucket),
    )


def _superseded(goal: Goal) -> Conflict:
    return Conflict(
        f"'{goal.object_id}' has a newer version here, in bucket '{goal.bucket}' that does not keep versions",
        object_id=str(goal.object_id),
    )


def _waves(goals: Sequence[Goal]) -> Iterator[list[Goal]]:
    """Goals whose chunks are looked up together: about a page of entries."""
    wave: list[Goal] = []
    count = 0
    for goal in goals:
        wave.append(goal)
        count += len(goal.offered.manifest.entries)
        if count >= PAGE_ENTRIES:
            yield wave
            wave, count = [], 0
    if wave:
        yield wave
