"""A stage for pulls: one real destination, a desk that gives it tasks, and a source that the test owns."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from replicator.kernel.digest import Digest
from replicator.kernel.manifest import PAGE_ENTRIES
from replicator.testing.lying_source import Forgery, Lie, LyingSource, Step, cut, forge
from replicator.testing.processes import ServerProcess, node_process
from replicator.testing.task_desk import TaskDesk
from replicator.testing.waiting import wait_until
from replicator.wire.sessions import TaskResult

PIECE_BYTES = 32
_MEMORY_BYTES_MAX = 300 * 1000 * 1000
_DESCRIPTORS_MORE_MAX = 4


@dataclass(frozen=True)
class PullStage:
    """Each pull is of an object of its own; after each it is checked that no wrong byte was admitted."""

    destination: ServerProcess
    desk: TaskDesk
    source: LyingSource

    def pull(self, object_id: str, forgery: Forgery, lies: Mapping[Step, Lie] | None = None) -> TaskResult:
        """Let the destination pull the object; returns how that ended."""
        return self.ended(self.begin(object_id, forgery, lies), object_id, forgery)

    def begin(self, object_id: str, forgery: Forgery, lies: Mapping[Step, Lie] | None = None) -> int:
        """The same, without waiting; returns the task."""
        self.source.show(object_id, forgery, lies)
        return self.desk.assign(object_id, self.source.url)

    def ended(self, task_id: int, object_id: str, forgery: Forgery) -> TaskResult:
        """The end of what was begun."""
        result = self.desk.result(task_id)
        expected = httpx.codes.OK if result.outcome == "succeeded" else httpx.codes.NOT_FOUND
        with httpx.Client(base_url=self.destination.url, trust_env=False) as client:
            assert client.get(f"/objects/{object_id}").status_code == expected
            for digest in forgery.chunks:
                chunk = client.get(f"/chunks/{digest}")
                assert chunk.status_code == httpx.codes.NOT_FOUND or Digest.of(chunk.content) == digest
        return result

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
        node_process("destination", folder, control_plane=desk.url, settings=settings) as destination,
    ):
        stage = PullStage(destination, desk, source)
        assert stage.pull("at the beginning", honest("at the beginning")).outcome == "succeeded"
        descriptors = destination.open_files()
        yield stage
        assert stage.pull("at the end", honest("at the end")).outcome == "succeeded"
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
