"""A stage for pulls: one real destination, a desk that gives it tasks, and two sources that the test owns."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from replicator.kernel.digest import Digest
from replicator.kernel.manifest import PAGE_ENTRIES
from replicator.testing.forgery import Forgery, cut, forge
from replicator.testing.lies import Lie
from replicator.testing.lying_source import LyingSource, Step
from replicator.testing.processes import ServerProcess, node_process
from replicator.testing.task_desk import TaskDesk
from replicator.testing.waiting import wait_until
from replicator.wire.sessions import ObjectResult

PIECE_BYTES = 32
OTHER = "other1"
_MEMORY_BYTES_MAX = 300 * 1000 * 1000
_DESCRIPTORS_MORE_MAX = 4
_ROW = 1


@dataclass(frozen=True)
class PullStage:
    """Each pull is of an object of its own; after each it is checked that no wrong byte was admitted.

    Attributes:
        other: a second source, which has what it is shown and is asked only where a test says so.
        older: what the destination held before, by object.
    """

    destination: ServerProcess
    desk: TaskDesk
    source: LyingSource
    other: LyingSource
    older: dict[str, bytes] = field(default_factory=dict)

    def put(self, object_id: str, chunks: Sequence[bytes]) -> None:
        """Let the destination hold an earlier version, of content that is cut into `chunks`."""
        self.older[object_id] = b"".join(chunks)
        url = f"{self.destination.url}/objects/{object_id}"
        httpx.put(url, content=self.older[object_id], trust_env=False).raise_for_status()

    def pull(
        self,
        object_id: str,
        forgery: Forgery,
        lies: Mapping[Step, Lie] | None = None,
        *,
        other: Forgery | None = None,
    ) -> ObjectResult:
        """Let the destination pull the object; returns how that ended.

        Args:
            other: what the second source has; None leaves it out.
        """
        if other is not None:
            self.other.show(object_id, replace(other, node=OTHER))
        task_id = self.begin(object_id, forgery, lies, with_other=other is not None)
        return self.ended(task_id, object_id, forgery)

    def begin(
        self,
        object_id: str,
        forgery: Forgery,
        lies: Mapping[Step, Lie] | None = None,
        *,
        with_other: bool = False,
    ) -> int:
        """The same, without waiting; returns the task."""
        self.source.show(object_id, forgery, lies)
        others = [self.other.url] if with_other else []
        return self.desk.assign(object_id, self.source.url, node=forgery.node, others=others)

    def ended(self, task_id: int, object_id: str, forgery: Forgery) -> ObjectResult:
        """The end of what was begun."""
        result = self._object_result(task_id)
        with httpx.Client(base_url=self.destination.url, trust_env=False) as client:
            found = client.get(f"/objects/{object_id}")
            if result.outcome == "failed" and object_id in self.older:
                assert found.content == self.older[object_id]
            else:
                expected = httpx.codes.NOT_FOUND if result.outcome == "failed" else httpx.codes.OK
                assert found.status_code == expected
            for digest in forgery.chunks:
                chunk = client.get(f"/chunks/{digest}")
                assert chunk.status_code == httpx.codes.NOT_FOUND or Digest.of(chunk.content) == digest
        return result

    def _object_result(self, task_id: int) -> ObjectResult:
        result = self.desk.result(task_id)
        if result.objects:
            (only,) = result.objects
            return only
        # It is about the task as a whole, and so about its one object.
        assert result.error is not None
        return ObjectResult(row=_ROW, outcome="failed", error=result.error)

    def read(self, object_id: str) -> bytes:
        """The object at the destination."""
        return httpx.get(f"{self.destination.url}/objects/{object_id}", trust_env=False).content


@contextmanager
def pull_stage(folder: Path) -> Iterator[PullStage]:
    """A stage whose destination waits two seconds for a byte, and must be well when all is over."""
    settings = {"REPLICATOR_NODE_PEER_TIMEOUT_S": "2", "REPLICATOR_NODE_PULLS_MAX": "64"}
    with (
        TaskDesk() as desk,
        LyingSource() as source,
        LyingSource() as other,
        node_process("destination", folder, control_plane=desk.url, settings=settings) as destination,
    ):
        stage = PullStage(destination, desk, source, other)
        first = stage.pull("at the beginning", honest("at the beginning"))
        assert first.outcome == "verified", first.error
        descriptors = destination.open_files()
        yield stage
        assert stage.pull("at the end", honest("at the end")).outcome == "verified"
        wait_until(
            lambda: destination.open_files() <= descriptors + _DESCRIPTORS_MORE_MAX,
            "descriptors are closed",
        )
        assert destination.peak_memory_bytes() < _MEMORY_BYTES_MAX
        assert destination.stray_output() == []
        assert destination.events("task.broke") == []
        assert destination.stop() == 0


def honest(seed: str, size: int = 60_000) -> Forgery:
    """An object of random bytes that only `seed` decides."""
    return forge(cut(random.Random(seed).randbytes(size)))


def paged(seed: str) -> Forgery:
    """An object of two pages, the second of ten entries, all of one small chunk."""
    forgery = forge([random.Random(seed).randbytes(PIECE_BYTES)] * (PAGE_ENTRIES + 10))
    assert len(forgery.pages) == 2
    return forgery
