"""Which pull of a node fetches a chunk, and which one leaves it to that."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.data_plane.replication.in_flight import Claimant, InFlight
from replicator.kernel.digest import Digest
from replicator.kernel.names import NodeName

ONE, TWO, THREE = (Digest.of(data) for data in (b"one", b"two", b"three"))


SOURCE, SLOW_SOURCE, SLOW_JOB = NodeName("source"), NodeName("slow"), 9


def claimant(woken: list[str], name: str, *, job: int = 1, source: NodeName = SOURCE) -> Claimant:
    return Claimant(
        source=source,
        job=job,
        is_limited=lambda source, job: source == SLOW_SOURCE or job == SLOW_JOB,
        wake=lambda: woken.append(name),
    )


def test_what_is_claimed_is_refused_to_others_until_it_is_released() -> None:
    woken: list[str] = []
    first, second = claimant(woken, "first"), claimant(woken, "second")
    in_flight = InFlight()
    assert in_flight.claim(first, [ONE, TWO]) == set()
    assert in_flight.claim(first, [ONE]) == set()
    assert in_flight.claim(second, [ONE, TWO, THREE]) == {ONE, TWO}
    in_flight.release(second, [ONE])
    in_flight.release(first, [ONE])
    assert woken == ["second"]
    assert in_flight.freed(second) == [ONE]
    assert in_flight.freed(second) == []
    assert in_flight.claim(second, [ONE]) == set()
    assert in_flight.claim(first, [ONE, THREE]) == {ONE, THREE}


def test_a_pull_that_ends_releases_all_and_is_not_woken_again() -> None:
    woken: list[str] = []
    first, second = claimant(woken, "first"), claimant(woken, "second")
    in_flight = InFlight()
    in_flight.claim(first, [ONE, TWO])
    in_flight.claim(second, [ONE, TWO, THREE])
    in_flight.claim(first, [THREE])
    in_flight.leave(first)
    assert woken == ["second"]
    assert set(in_flight.freed(second)) == {ONE, TWO}
    in_flight.leave(second)
    assert woken == ["second"]
    assert in_flight.claim(claimant(woken, "third"), [ONE, TWO, THREE]) == set()


def test_what_is_insisted_on_is_not_released_by_whom_it_was_taken_from() -> None:
    woken: list[str] = []
    first, second, third = (claimant(woken, name) for name in ("first", "second", "third"))
    in_flight = InFlight()
    in_flight.claim(first, [ONE])
    assert in_flight.claim(second, [ONE], insist=True) == set()
    in_flight.leave(first)
    assert in_flight.claim(third, [ONE]) == {ONE}
    in_flight.release(second, [ONE])
    assert woken == ["third"]


@pytest.mark.parametrize("slowed", [{"job": SLOW_JOB}, {"source": SLOW_SOURCE}])
def test_nobody_waits_for_a_pull_that_a_limit_slows_which_does_not_hold_for_it(slowed: Any) -> None:
    woken: list[str] = []
    slow, same = (claimant(woken, name, **slowed) for name in ("slow", "same"))
    other = claimant(woken, "other")
    in_flight = InFlight()
    in_flight.claim(slow, [ONE])
    assert in_flight.claim(same, [ONE]) == {ONE}
    assert in_flight.claim(other, [ONE]) == set()
    assert in_flight.claim(slow, [ONE]) == {ONE}
