"""How many bodies are on their way at once, and how large the blocks are in which they travel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from replicator.kernel.errors import Unavailable

BLOCK_BYTES_MAX = 1024 * 1024
# A body up to here is no transfer: it comes or goes in one piece, and is held only that long.
SHORT_BYTES_MAX = 64 * 1024
# A block being received or sent, one being written or read, and one that is held back or on its way.
_BLOCKS_PER_TRANSFER = 3
_TRANSFER_BYTES_MIN = 512 * 1024


class BlockBudget:
    """Transfers in progress share `buffer_bytes_max`: a few have large blocks, many have small ones.

    So many that each would have less than half a mebibyte are not let in: one more waits for its turn, with
    its bytes still at the client or on their way.

    Args:
        wait_s: how long a transfer waits for its turn before it is refused.

    Attributes:
        transfers: how many are in progress.
    """

    def __init__(self, buffer_bytes_max: int, *, wait_s: float) -> None:
        self._buffer_bytes_max = buffer_bytes_max
        self._wait_s = wait_s
        self._turns = asyncio.Semaphore(max(1, buffer_bytes_max // _TRANSFER_BYTES_MIN))
        self.transfers = 0

    def transfer(self, byte_count: int | None) -> AbstractAsyncContextManager[None]:
        """For the time it takes to move `byte_count` bytes, None for who knows how many. Not to be nested.

        Raises:
            Unavailable: on entering, when its turn did not come in time.
        """
        short = byte_count is not None and byte_count <= SHORT_BYTES_MAX
        return nullcontext() if short else self._turn()

    def block_bytes(self) -> int:
        """The length in bytes for the next block of one transfer."""
        share = self._buffer_bytes_max // (_BLOCKS_PER_TRANSFER * max(1, self.transfers))
        return min(BLOCK_BYTES_MAX, max(SHORT_BYTES_MAX, share))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turns.acquire()
        except TimeoutError:
            raise Unavailable(
                f"this node is busy: as many transfers as its buffers hold went on for {self._wait_s:g} s; "
                "retry shortly"
            ) from None
        self.transfers += 1
        try:
            yield
        finally:
            self.transfers -= 1
            self._turns.release()
