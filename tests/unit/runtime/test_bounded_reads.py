"""A crowd is read in small pieces, a few in large ones."""

from __future__ import annotations

import pytest

from replicator.runtime.bounded_reads import READ_BYTES_MAX, READ_BYTES_MIN, read_bytes


@pytest.mark.parametrize(
    ("requests", "expected"),
    [(0, READ_BYTES_MAX), (1, READ_BYTES_MAX), (1024, 32_768), (10**6, READ_BYTES_MIN)],
)
def test_requests_share_what_is_read_at_once(requests: int, expected: int) -> None:
    assert read_bytes(requests) == expected
