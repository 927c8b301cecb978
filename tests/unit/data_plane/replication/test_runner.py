"""The tasks of a node that more than one control plane has spoken to, with equal numbers from each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest

from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.ports import Store
from replicator.data_plane.replication.ports import Delivery, Piece
from replicator.data_plane.replication.pull import Pull
from replicator.data_plane.replication.runner import TaskRunner
from replicator.data_plane.replication.serving import Serving
from replicator.data_plane.replication.work import BeginWork, Work, WorkDone
from replicator.kernel.errors import InvalidRequest, Unavailable
from replicator.kernel.names import ObjectId
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_peer import MemoryPeer
from replicator.testing.memory_store import MemoryStore
from replicator.testing.objects import TINY_CHUNKING, commit, new_version
from replicator.testing.pulling import SOURCE, PullingNode, task_source
from replicator.testing.waiting import DEADLINE_S
from replicator.wire.sessions import ObjectItem, TaskAssignment, TaskResult, Transfer

pytestmark = pytest.mark.anyio
OURS, THEIRS = "our-control-plane", "their-control-plane"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class HangingPeer(MemoryPeer):
    """Sends no chunk, until it is closed."""

    def __init__(self, serving: Serving) -> None:
        super().__init__(serving)
        self._over = threading.Event()

    def fetch(self, pieces: Sequence[Piece], *, compress: bool) -> Iterator[Delivery]:
        """See `Peer.fetch`."""
        self._over.wait()
        raise Unavailable("the connection broke")
        yield

    def close(self) -> None:
        """See `Peer.close`."""
        super().close()
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
async def runner_over(
    here: MemoryStore, nodes: dict[str, Store], *, hanging: Sequence[str] = (), begin: BeginWork | None = None
) -> AsyncIterator[TaskRunner]:
    node = PullingNode(
        here,
        nodes,
        make_peer=lambda serving, name: (HangingPeer if name in hanging else MemoryPeer)(serving),
    )
    runner = TaskRunner(
        here,
        boot_id="this-process",
        begin=begin or {"pull": lambda task: Pull(task, node.engine)},
        tasks_max=2,
        metrics=NodeMetrics(),
        on_result=lambda: None,
    )
    try:
        yield runner
    finally:
        await runner.close()


def task_of(control_plane: str, object_id: str, node: str = SOURCE) -> TaskAssignment:
    """The first task of a control plane."""
    return TaskAssignment(
        control_plane=control_plane,
        task_id=1,
        epoch=1,
        job_id=1,
        attempt=1,
        source=task_source(node),
        items=[ObjectItem(row=1, object_id=object_id)],
    )


def results(runner: TaskRunner) -> list[TaskResult]:
    return runner.results(9, bytes_max=1_000_000)


async def reached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def finished(runner: TaskRunner, count: int) -> None:
    await reached(lambda: len(results(runner)) == count)


def told(runner: TaskRunner) -> list[tuple[str, int, str]]:
    """To whom the results say what, and of how many bytes."""
    return [
        (result.control_plane, result.transfer.bytes_logical, result.outcome) for result in results(runner)
    ]


async def test_a_result_for_another_control_plane_does_not_answer_for_this_ones(source: MemoryStore) -> None:
    here = memory_store("here")
    async with runner_over(here, {SOURCE: source}) as runner:
        runner.start(task_of(THEIRS, "theirs"))
        await finished(runner, 1)
        runner.start(task_of(OURS, "ours"))
        await finished(runner, 2)
        assert told(runner) == [(THEIRS, 6, "succeeded"), (OURS, 4, "succeeded")]


async def test_what_one_control_plane_acknowledges_is_kept_for_the_other(source: MemoryStore) -> None:
    here = memory_store("here")
    async with runner_over(here, {SOURCE: source}) as runner:
        for task in (task_of(THEIRS, "theirs"), task_of(OURS, "ours")):
            runner.start(task)
            await finished(runner, len(told(runner)) + 1)
        runner.acknowledge([task_of(THEIRS, "theirs").ref])
    async with runner_over(here, {SOURCE: source}) as restarted:
        assert told(restarted) == [(OURS, 4, "succeeded")]
        restarted.acknowledge([task_of(THEIRS, "theirs").ref])
        assert len(results(restarted)) == 1
        restarted.acknowledge([task_of(OURS, "ours").ref])
    assert here.outbox() == []


async def test_tasks_of_the_control_plane_before_are_abandoned(source: MemoryStore) -> None:
    here = memory_store("here")
    async with runner_over(here, {SOURCE: source, "slow": source}, hanging=["slow"]) as runner:
        theirs = task_of(THEIRS, "theirs", "slow")
        runner.start(theirs)
        runner.serve(THEIRS)
        assert [progress.ref for progress in runner.progress()] == [theirs.ref]
        runner.serve(OURS)
        assert runner.progress() == []
        runner.start(task_of(OURS, "ours"))
        await reached(lambda: runner.capacity == 2)
        assert told(runner) == [(OURS, 4, "succeeded")]


async def test_a_task_that_is_cancelled_says_so(source: MemoryStore) -> None:
    async with runner_over(memory_store("here"), {SOURCE: source}, hanging=[SOURCE]) as runner:
        task = task_of(OURS, "ours")
        runner.start(task)
        runner.cancel(task.ref)
        await finished(runner, 1)
        (result,) = results(runner)
    assert (result.outcome, result.objects) == ("cancelled", [])
    assert result.error is not None
    assert result.error.code == "cancelled"


async def test_a_task_that_cannot_begin_fails(source: MemoryStore) -> None:
    def refuse(task: TaskAssignment) -> Work:
        raise InvalidRequest("a task that makes no sense")

    async with runner_over(memory_store("here"), {SOURCE: source}, begin={"pull": refuse}) as runner:
        runner.start(task_of(OURS, "ours"))
        await finished(runner, 1)
        (result,) = results(runner)
    assert result.error is not None
    assert (result.outcome, result.error.error_class, result.error.code) == (
        "failed",
        "permanent",
        "invalid-request",
    )


async def test_work_that_breaks_fails_for_now_and_the_runner_goes_on(source: MemoryStore) -> None:
    class Broken:
        transfer = Transfer()

        def run(self) -> WorkDone:
            raise ZeroDivisionError

        def stop(self) -> None:
            """Nothing to stop."""

    async with runner_over(
        memory_store("here"), {SOURCE: source}, begin={"pull": lambda _: Broken()}
    ) as runner:
        runner.start(task_of(OURS, "ours"))
        await finished(runner, 1)
        (result,) = results(runner)
        assert runner.capacity == 2
    assert result.error is not None
    assert result.error.error_class == "transient"


async def test_results_are_reported_no_more_than_fit_a_message(source: MemoryStore) -> None:
    async with runner_over(memory_store("here"), {SOURCE: source}) as runner:
        for task_id in (1, 2, 3):
            runner.start(task_of(OURS, "ours").model_copy(update={"task_id": task_id}))
            await finished(runner, task_id)
        one = len(results(runner)[0].model_dump_json(by_alias=True))
        assert len(runner.results(9, bytes_max=1)) == 1
        assert len(runner.results(9, bytes_max=2 * one + one // 2)) == 2
        assert len(runner.results(2, bytes_max=100 * one)) == 2


async def test_a_result_that_cannot_be_read_is_dropped() -> None:
    here = memory_store("here")
    here.post(1, 1, b'{"task_id": 1, "epoch": 1}')
    async with runner_over(here, {}) as runner:
        assert results(runner) == []
    assert here.outbox() == []
