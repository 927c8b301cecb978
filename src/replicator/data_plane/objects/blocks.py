"""How large the blocks are in which bodies are received, read and sent."""

from __future__ import annotations

BLOCK_BYTES_MAX = 1024 * 1024
BLOCK_BYTES_MIN = 64 * 1024
# One is received or sent, one is written or read, and one is held back or on its way.
_BLOCKS_PER_REQUEST = 3


class BlockBudget:
    """Requests in progress share `buffer_bytes_max`: a few have large blocks, many have small ones.

    Attributes:
        requests: how many are in progress.
    """

    def __init__(self, buffer_bytes_max: int) -> None:
        self._buffer_bytes_max = buffer_bytes_max
        self.requests = 0

    def block_bytes(self) -> int:
        """The length in bytes for the next block of one request."""
        share = self._buffer_bytes_max // (_BLOCKS_PER_REQUEST * max(1, self.requests))
        return min(BLOCK_BYTES_MAX, max(BLOCK_BYTES_MIN, share))
