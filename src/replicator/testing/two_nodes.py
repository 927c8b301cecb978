"""Two stores, one of which surveys the other, without a network."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from replicator.data_plane.ports import Store, Version
from replicator.data_plane.replication.engine import Engine
from replicator.data_plane.replication.links import Links
from replicator.data_plane.replication.ports import Peer
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.removal import RemoveRun
from replicator.data_plane.replication.serving import Serving
from replicator.data_plane.replication.survey import TASK_S, SurveyRun
from replicator.data_plane.replication.work import WorkDone
from replicator.kernel.clock import Clock
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, NodeName
from replicator.kernel.version import VersionId
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_peer import MemoryPeer
from replicator.testing.memory_store import MemoryStore
from replicator.testing.objects import commit, new_version
from replicator.wire.replication import LIST_KEYS_MAX
from replicator.wire.sessions import (
    Found,
    ObjectItem,
    ObjectResult,
    Survey,
    SurveyResult,
    TaskAssignment,
    TaskSource,
)

SOURCE = NodeName("node1")
DESTINATION = NodeName("node2")
_TASKS_MAX = 100_000


def object_version(number: int) -> VersionId:
    """Ids that grow with `number`, made a second apart."""
    made_ms = 1_700_000_000_000 + 1000 * number
    return VersionId((made_ms << 16).to_bytes(8) + b"testnode")


@dataclass
class TwoNodes:
    """A source and a destination.

    Attributes:
        peers: those that were opened to the source, in order.
        task_s, stretch_keys: see `SurveyRun`.
    """

    clock: Clock = field(default_factory=FrozenClock)
    source: Store = field(init=False)
    destination: Store = field(init=False)
    peers: list[MemoryPeer] = field(default_factory=list)
    answers_as: NodeName = SOURCE
    task_s: float = TASK_S
    stretch_keys: int = LIST_KEYS_MAX

    def __post_init__(self) -> None:
        self.source = MemoryStore(clock=self.clock, node_name=SOURCE)
        self.destination = MemoryStore(clock=self.clock, node_name=DESTINATION)

    def survey(self, **asked: Any) -> SurveyResult:
        """All results of a survey, added up."""
        whole = SurveyResult()
        cursor = None
        for _ in range(_TASKS_MAX):
            result = self.survey_task(cursor=cursor, **asked)
            whole.compared += result.compared
            whole.unchanged += result.unchanged
            whole.unchanged_bytes += result.unchanged_bytes
            whole.found += result.found
            whole.unknown += result.unknown
            cursor = result.cursor
            if cursor is None:
                last = result.model_dump(include={"plan", "source_root", "destination_root"})
                return whole.model_copy(update={**last, "plan": result.plan})
        raise AssertionError(f"a survey did not end after {_TASKS_MAX} tasks")

    def survey_task(self, *, cursor: str | None = None, **asked: Any) -> SurveyResult:
        """One task of a survey."""
        run = self.survey_run(Survey(**{"bucket": DEFAULT_BUCKET, **asked}, cursor=cursor))
        survey = run.run().survey
        assert survey is not None
        return survey

    def survey_run(self, survey: Survey) -> SurveyRun:
        """A task that has not begun."""
        return SurveyRun(
            _assignment(survey=survey),
            self.engine(),
            own=Serving(self.destination, node=DESTINATION, clock=self.clock),
            folder=tempfile.gettempdir(),
            task_s=self.task_s,
            stretch_keys=self.stretch_keys,
        )

    def remove(self, found: Sequence[Found]) -> list[ObjectResult]:
        """Carry out the removal of what a survey found."""
        return list(self.removal(found).objects)

    def removal(self, found: Sequence[Found]) -> WorkDone:
        """The same, with all that is reported of it."""
        items = [
            ObjectItem(row=row, **each.model_dump(exclude={"finding"})) for row, each in enumerate(found, 1)
        ]
        return RemoveRun(_assignment(kind="remove", items=items), self.engine()).run()

    def engine(self) -> Engine:
        """The destination's."""
        return Engine(
            store=self.destination,
            open_peer=self._open,
            pacer=Pacer(self.clock),
            links=Links(self.clock, random.Random(0)),
            clock=self.clock,
            rng=random.Random(0),
        )

    def _open(self, _: TaskSource) -> Peer:
        self.peers.append(MemoryPeer(Serving(self.source, node=self.answers_as, clock=self.clock)))
        return self.peers[-1]


def put(
    store: Store, object_id: str, *payloads: bytes, number: int = 0, bucket: BucketName = DEFAULT_BUCKET
) -> Version:
    """Commit a version that has the id `object_version(number)`."""
    new = new_version(object_id, *payloads, bucket=bucket, version=object_version(number))
    return commit(store, new).version


def _assignment(**what: Any) -> TaskAssignment:
    return TaskAssignment(
        **{
            "control_plane": "testcontrol",
            "task_id": 1,
            "epoch": 1,
            "job_id": 1,
            "attempt": 1,
            "kind": "survey",
            "source": TaskSource(node=SOURCE, base_url="http://127.0.0.1:1"),
            **what,
        }
    )
