"""Work in threads is waited for, in order, whatever becomes of who asked for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import pytest

from replicator.data_plane.threads import Threads
from replicator.testing.waiting import DEADLINE_S

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


async def test_steps_are_worked_on_one_ahead_and_come_in_order(executor: ThreadPoolExecutor) -> None:
    begun: list[int] = []

    def work(step: int) -> int:
        begun.append(step)
        return step * 10

    came = []
    async with aclosing(Threads(executor).ahead(iter(range(5)), work)) as results:
        async for result in results:
            came.append(result)
            assert max(begun, default=0) <= len(came)
    assert came == [0, 10, 20, 30, 40]
    assert begun == [0, 1, 2, 3, 4]


async def test_an_error_comes_in_its_turn_and_nothing_behind_it(executor: ThreadPoolExecutor) -> None:
    def work(step: int) -> int:
        if step == 2:
            raise ValueError("step 2")
        return step

    async with aclosing(Threads(executor).ahead(iter(range(5)), work)) as results:
        assert [await anext(results), await anext(results)] == [0, 1]
        with pytest.raises(ValueError, match="step 2"):
            await anext(results)
        with pytest.raises(StopAsyncIteration):
            await anext(results)


async def test_no_steps_are_no_results(executor: ThreadPoolExecutor) -> None:
    assert [each async for each in Threads(executor).ahead(iter(()), str)] == []


async def test_who_stops_early_waits_for_what_was_begun(executor: ThreadPoolExecutor) -> None:
    ended: list[int] = []
    may_end = threading.Event()

    def work(step: int) -> int:
        if step == 1:
            may_end.wait(DEADLINE_S)
        ended.append(step)
        return step

    async with aclosing(Threads(executor).ahead(iter(range(5)), work)) as results:
        assert await anext(results) == 0
        may_end.set()
    assert ended == [0, 1]


async def test_who_is_cancelled_is_told_when_the_thread_has_ended(executor: ThreadPoolExecutor) -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        may_end.wait(DEADLINE_S)
        ended.set()

    running = asyncio.create_task(Threads(executor).run(work))
    await asyncio.to_thread(begun.wait, DEADLINE_S)
    running.cancel()
    asyncio.get_running_loop().call_soon(may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended.is_set()
