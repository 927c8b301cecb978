"""Transfers in progress share the bytes for their blocks, and wait where there are none left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from replicator.data_plane.objects.blocks import BLOCK_BYTES_MAX, SHORT_BYTES_MAX, BlockBudget
from replicator.kernel.errors import Unavailable

MEBIBYTE = 1024 * 1024
pytestmark = pytest.mark.anyio
LONG = SHORT_BYTES_MAX + 1
FOREVER_S, AT_ONCE_S = 60.0, 0.01


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def transfers(budget: BlockBudget, count: int) -> AsyncIterator[None]:
    async with AsyncExitStack() as running:
        for _ in range(count):
            await running.enter_async_context(budget.transfer(LONG))
        yield


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, BLOCK_BYTES_MAX), (1, BLOCK_BYTES_MAX), (21, BLOCK_BYTES_MAX), (64, MEBIBYTE // 3)],
)
async def test_many_transfers_have_small_blocks(count: int, expected: int) -> None:
    budget = BlockBudget(64 * MEBIBYTE, wait_s=FOREVER_S)
    async with transfers(budget, count):
        assert budget.block_bytes() == expected
    assert budget.block_bytes() == BLOCK_BYTES_MAX


@pytest.mark.parametrize("byte_count", [LONG, None])
async def test_a_transfer_too_many_is_refused_and_a_short_body_is_none(byte_count: int | None) -> None:
    budget = BlockBudget(MEBIBYTE, wait_s=AT_ONCE_S)
    async with transfers(budget, 2):
        with pytest.raises(Unavailable, match="retry shortly"):
            async with budget.transfer(byte_count):
                pass
        async with budget.transfer(SHORT_BYTES_MAX):
            pass
    async with budget.transfer(byte_count):
        assert budget.transfers == 1


async def test_a_transfer_waits_for_its_turn() -> None:
    budget = BlockBudget(MEBIBYTE, wait_s=FOREVER_S)
    ended: list[str] = []

    async def one(name: str) -> None:
        async with budget.transfer(LONG):
            ended.append(name)

    async with asyncio.TaskGroup() as group, transfers(budget, 2):
        for name in ("first", "second"):
            group.create_task(one(name))
        await asyncio.sleep(0)
        assert ended == []
    assert ended == ["first", "second"]


async def test_a_transfer_that_is_cancelled_while_it_waits_takes_no_turn() -> None:
    budget = BlockBudget(MEBIBYTE, wait_s=FOREVER_S)

    async def one() -> None:
        async with budget.transfer(LONG):
            pass

    async with transfers(budget, 2):
        waiting = asyncio.create_task(one())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    async with transfers(budget, 2):
        assert budget.transfers == 2
