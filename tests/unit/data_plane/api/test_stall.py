"""A body has to bring its bytes at a pace; what the node takes for itself does not count."""

from __future__ import annotations

import pytest

from replicator.data_plane.api.stall import Pace, Patience
from replicator.kernel.errors import Unavailable

PATIENCE = Patience(timeout_s=10.0, body_bytes_per_s_min=100)


def drip(pace: Pace, wait_s: float, *, until_s: float = 1000.0) -> float:
    """Bytes that come one at a time; returns the time waited, or raises when they are cut off."""
    waited_s = 0.0
    while waited_s < until_s:
        pace.note(waited_s=wait_s, passed_bytes=1)
        waited_s += wait_s
    return waited_s


def test_a_body_at_the_least_pace_is_taken_to_its_end() -> None:
    pace = Pace(PATIENCE)
    for _ in range(1000):
        pace.note(waited_s=0.5, passed_bytes=50)


def test_a_body_that_pauses_makes_up_for_it_within_the_interval() -> None:
    pace = Pace(PATIENCE)
    for _ in range(10):
        pace.note(waited_s=9.0, passed_bytes=1)
        pace.note(waited_s=1.0, passed_bytes=1000)


@pytest.mark.parametrize("wait_s", [0.1, 1.0, 10.0, 60.0])
def test_a_drip_is_cut_off_at_the_end_of_an_interval(wait_s: float) -> None:
    drip(Pace(PATIENCE), wait_s, until_s=PATIENCE.timeout_s - 1.5 * wait_s)
    with pytest.raises(Unavailable, match="100 bytes a second"):
        drip(Pace(PATIENCE), wait_s, until_s=PATIENCE.timeout_s + wait_s)


def test_a_fast_beginning_does_not_pay_for_a_drip_for_ever() -> None:
    pace = Pace(PATIENCE)
    pace.note(waited_s=0.1, passed_bytes=10**9)
    with pytest.raises(Unavailable):
        drip(pace, 1.0)


def test_no_least_pace_lets_every_drip_through() -> None:
    pace = Pace(Patience(timeout_s=1.0, body_bytes_per_s_min=0))
    for _ in range(100):
        pace.note(waited_s=1.0, passed_bytes=1)
