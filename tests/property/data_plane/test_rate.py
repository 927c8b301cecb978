"""A bucket never lets more pass than its rate allows, whoever takes what and however the rate changes."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from replicator.data_plane.replication.rate import Bucket

BYTES_MAX = 1 << 21
RATES = st.integers(1024, 1 << 30)


@dataclass(frozen=True, slots=True)
class Take:
    """Take `n_bytes`, `after_s` since the last step; the rate is then `rate`."""

    after_s: float
    n_bytes: int
    rate: int


TAKES = st.builds(Take, st.floats(0, 10), st.integers(1, BYTES_MAX), RATES)


@given(RATES, st.lists(TAKES, min_size=1, max_size=50))
def test_what_passes_in_a_time_is_bounded_by_the_rate(rate: int, takes: list[Take]) -> None:
    """Each waits as long as it is told, so all that passed but the last was paid for."""
    bucket, now_s, allowed, passed = Bucket(rate, now_s=0.0), 0.0, 0.0, 0
    for take in takes:
        allowed += take.after_s * rate
        now_s += take.after_s
        rate = take.rate
        bucket.set_rate(rate, now_s=now_s)
        wait_s = bucket.wait_s(bucket.reserve(take.n_bytes, now_s=now_s), now_s=now_s)
        allowed += wait_s * rate
        now_s += wait_s
        assert passed <= allowed + 1
        passed += take.n_bytes


@given(RATES, st.lists(st.integers(1, BYTES_MAX), min_size=2, max_size=50))
def test_who_always_has_something_to_take_gets_all_of_the_rate(rate: int, sizes: list[int]) -> None:
    bucket, now_s = Bucket(rate, now_s=0.0), 0.0
    for size in sizes:
        now_s += bucket.wait_s(bucket.reserve(size, now_s=now_s), now_s=now_s)
    assert abs(now_s * rate - sum(sizes[:-1])) <= 1 + 1e-6 * sum(sizes)


@given(RATES, st.lists(st.integers(1, BYTES_MAX), min_size=2, max_size=20), st.data())
def test_what_is_given_back_goes_to_those_behind(rate: int, sizes: list[int], data: st.DataObject) -> None:
    bucket = Bucket(rate, now_s=0.0)
    places = [bucket.reserve(size, now_s=0.0) for size in sizes]
    given_up = data.draw(st.integers(0, len(sizes) - 2))
    bucket.give_back(sizes[given_up])
    left = sum(sizes[:-1]) - sizes[given_up]
    assert abs(bucket.wait_s(places[-1], now_s=0.0) * rate - left) <= 1
