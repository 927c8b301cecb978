"""Requests in progress share the bytes for their blocks."""

from __future__ import annotations

import pytest

from replicator.data_plane.objects.blocks import BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, BlockBudget

MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("requests", "expected"),
    [
        (0, BLOCK_BYTES_MAX),
        (1, BLOCK_BYTES_MAX),
        (21, BLOCK_BYTES_MAX),
        (64, MEBIBYTE // 3),
        (10_000, BLOCK_BYTES_MIN),
    ],
)
def test_many_requests_have_small_blocks(requests: int, expected: int) -> None:
    budget = BlockBudget(64 * MEBIBYTE)
    budget.requests = requests
    assert budget.block_bytes() == expected
