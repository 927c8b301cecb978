"""The tasks of a node that more than one control plane has spoken to, with equal numbers from each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest

from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.replication.ports import Delivery, Peer
from replicator.data_plane.replication.runner import TaskRunner
from replicator.kernel.errors import Unavailable
from replicator.kernel.manifest import ChunkRef
from replicator.kernel.names import ObjectId
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_store import MemoryStore
from replicator.testing.objects import TINY_CHUNKING, commit, new_version
from replicator.testing.store_peer import SOURCE, StorePeer
from replicator.testing.waiting import DEADLINE_S
from replicator.wire.sessions import TaskAssignment, TaskSource

pytestmark = pytest.mark.anyio
OURS, THEIRS = "our-control-plane", "their-control-plane"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class HangingPeer(StorePeer):
    """Sends no chunk, until it is closed."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store)
        self._over = threading.Event()

    def fetch(self, refs: Sequence[ChunkRef]) -> Iterator[Delivery]:
        """See `StorePeer.fetch`."""
        self._over.wait()
        raise Unavailable("the connection broke")

    def close(self) -> None:
        """See `StorePeer.close`."""
        self._over.set()


def memory_store(name: str) -> MemoryStore:
    return MemoryStore(clock=FrozenClock(), node_name=name, chunking=TINY_CHUNKING)


@pytest.fixture
def source() -> MemoryStore:
    store = memory_store("source")
    for object_id in ("ours", "theirs"):
        commit(store, new_version(ObjectId(object_id), object_id.encode()))
    return store


@asynccontextmanager
async def runner_over(store: MemoryStore, open_peer: Callable[[str], Peer]) -> AsyncIterator[TaskRunner]:
    runner = TaskRunner(
        store,
        boot_id="this-process",
        open_peer=open_peer,
        pulls_max=2,
        metrics=NodeMetrics(),
        clock=FrozenClock(),
        on_result=lambda: None,
    )
    try:
        yield runner
    finally:
        await runner.close()


def task_of(control_plane: str, object_id: str, url: str = "http://source") -> TaskAssignment:
    """The first task of a control plane."""
    return TaskAssignment(
        control_plane=control_plane,
        task_id=1,
        epoch=1,
        job_id=1,
        attempt=1,
        source=TaskSource(node=SOURCE, base_url=url),
        object_id=object_id,
    )


async def reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def finished(runner: TaskRunner, count: int) -> None:
    await reached(lambda: len(runner.results(9)) == count)


def told(runner: TaskRunner) -> list[tuple[str, str, str]]:
    """What the results say of which object, and to whom."""
    return [(result.control_plane, result.object_id, result.outcome) for result in runner.results(9)]


async def test_a_result_for_another_control_plane_does_not_answer_for_this_ones(source: MemoryStore) -> None:
    here = memory_store("here")
    async with runner_over(here, lambda _: StorePeer(source)) as runner:
        runner.start(task_of(THEIRS, "theirs"))
        await finished(runner, 1)
        runner.start(task_of(OURS, "ours"))
        await finished(runner, 2)
        assert told(runner) == [(THEIRS, "theirs", "succeeded"), (OURS, "ours", "succeeded")]


async def test_what_one_control_plane_acknowledges_is_kept_for_the_other(source: MemoryStore) -> None:
    here = memory_store("here")
    async with runner_over(here, lambda _: StorePeer(source)) as runner:
        for task in (task_of(THEIRS, "theirs"), task_of(OURS, "ours")):
            runner.start(task)
            await finished(runner, len(told(runner)) + 1)
        runner.acknowledge([task_of(THEIRS, "theirs").ref])
    async with runner_over(here, lambda _: StorePeer(source)) as restarted:
        assert told(restarted) == [(OURS, "ours", "succeeded")]
        restarted.acknowledge([task_of(THEIRS, "theirs").ref])
        assert len(restarted.results(9)) == 1
        restarted.acknowledge([task_of(OURS, "ours").ref])
    assert here.outbox() == []


async def test_tasks_of_the_control_plane_before_are_abandoned(source: MemoryStore) -> None:
    here = memory_store("here")
    peers = {"http://hanging": HangingPeer(source), "http://source": StorePeer(source)}
    async with runner_over(here, peers.__getitem__) as runner:
        theirs = task_of(THEIRS, "theirs", "http://hanging")
        runner.start(theirs)
        runner.serve(THEIRS)
        assert [progress.ref for progress in runner.progress()] == [theirs.ref]
        runner.serve(OURS)
        assert runner.progress() == []
        runner.start(task_of(OURS, "ours"))
        await reached(lambda: runner.capacity == 2)
        assert told(runner) == [(OURS, "ours", "succeeded")]


async def test_an_object_of_another_node_than_the_source_fails_for_good(source: MemoryStore) -> None:
    async with runner_over(memory_store("here"), lambda _: StorePeer(source)) as runner:
        named = TaskSource(node="node9", base_url="http://source")
        runner.start(task_of(OURS, "ours").model_copy(update={"source": named}))
        await finished(runner, 1)
        (result,) = runner.results(9)
    assert result.error is not None
    assert result.error.error_class == "permanent"
    assert "the base_url of node 'node9' leads to node 'source'" in result.error.message


async def test_a_result_that_cannot_be_read_is_dropped() -> None:
    here = memory_store("here")
    here.post(1, 1, b'{"task_id": 1, "epoch": 1}')
    async with runner_over(here, lambda _: StorePeer(here)) as runner:
        assert runner.results(9) == []
    assert here.outbox() == []
