"""What is told of an error decides whether, and when, the attempt is made again."""

from __future__ import annotations

import pytest

from replicator.data_plane.replication.reporting import classify, describe
from replicator.kernel.errors import (
    BrokenPeer,
    Conflict,
    Corrupt,
    NotFound,
    PeerUnreachable,
    QuotaExceeded,
    ReplicatorError,
    StoreFailed,
    Unavailable,
)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PeerUnreachable("x"), "node-down"),
        (PeerUnreachable("left alone", retry_after_s=3.0), "node-down"),
        (Unavailable("x"), "transient"),
        (Unavailable("busy", retry_after_s=3.0), "throttled"),
        (StoreFailed("x"), "transient"),
        (QuotaExceeded("x"), "transient"),
        (ReplicatorError("x"), "transient"),
        (NotFound("x"), "permanent"),
        (Conflict("x"), "permanent"),
        (Corrupt("x"), "permanent"),
        (BrokenPeer("x"), "transient"),
    ],
)
def test_every_error_has_a_class(error: ReplicatorError, expected: str) -> None:
    assert classify(error) == expected


def test_a_long_message_is_cut() -> None:
    assert len(describe(NotFound("x" * 10_000)).message) == 2000
