"""Hearing from the committer: in a thread, and on an event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from replicator.data_plane.ports import Added, Committed, Settle, Version
from replicator.data_plane.settling import LoopSettler, wait_settled
from replicator.kernel.errors import NotFound
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.kernel.version import VersionId
from replicator.testing.objects import manifest_of

DONE = Committed(
    Version(
        bucket=DEFAULT_BUCKET,
        object_id=ObjectId("a"),
        version=VersionId(bytes(16)),
        manifest=manifest_of().digest,
        size=0,
        chunk_count=0,
        content_type="",
    ),
    Added(0, 0),
)


def from_a_thread(settle: Settle) -> None:
    threading.Thread(target=settle, args=(DONE, None)).start()


def test_a_thread_waits_for_its_outcome() -> None:
    assert wait_settled(from_a_thread) == DONE
    with pytest.raises(NotFound):
        wait_settled(lambda settle: settle(None, NotFound("no")))


def test_a_coroutine_waits_for_its_outcome() -> None:
    async def run() -> None:
        settler = LoopSettler(asyncio.get_running_loop())
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(settler.settled(from_a_thread)) for _ in range(20)]
        assert [task.result() for task in waiting] == [DONE] * 20
        with pytest.raises(NotFound):
            await settler.settled(lambda settle: settle(None, NotFound("no")))

    asyncio.run(run())


def test_a_caller_that_went_away_does_not_disturb_the_others() -> None:
    async def run() -> None:
        settler = LoopSettler(asyncio.get_running_loop())
        settles: list[Settle] = []
        gone = asyncio.ensure_future(settler.settled(settles.append))
        other = asyncio.ensure_future(settler.settled(settles.append))
        await asyncio.sleep(0)
        gone.cancel()
        settles[0](DONE, None)
        settles[1](None, NotFound("no"))
        with pytest.raises(NotFound):
            await other
        assert gone.cancelled()

    asyncio.run(run())


def test_an_outcome_after_the_end_of_the_loop_does_not_harm_the_committer() -> None:
    settles: list[Settle] = []

    async def run() -> None:
        settler = LoopSettler(asyncio.get_running_loop())
        waiting = asyncio.ensure_future(settler.settled(settles.append))
        await asyncio.sleep(0)
        waiting.cancel()

    asyncio.run(run())
    settles[0](DONE, None)
