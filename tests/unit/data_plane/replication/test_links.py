"""A source in trouble is left alone for a while, then tried by one; and what a link carried is measured."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from replicator.data_plane.replication.links import Link, Links
from replicator.kernel import errors
from replicator.kernel.names import NodeName
from replicator.testing.clock import FrozenClock

SOURCE = NodeName("node1")
MIB = 1 << 20
DOWN = errors.PeerUnreachable("no answer")
LONGEST_S = 60.0


class Highest(random.Random):
    """Draws the longest times."""

    def uniform(self, a: float, b: float) -> float:
        return b


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def link(clock: FrozenClock) -> Link:
    return Links(clock, Highest(), failures_max=3, open_s_max=LONGEST_S).of(SOURCE)


def pass_by(clock: FrozenClock, seconds: float) -> None:
    clock.now_ms += round(seconds * 1000)


def fail(link: Link, times: int, error: errors.ReplicatorError = DOWN) -> None:
    for _ in range(times):
        link.failed(error)


def test_a_link_opens_after_failures_in_a_row(link: Link) -> None:
    fail(link, 2)
    link.worked(MIB, 0.1)
    fail(link, 2)
    link.require_closed()
    fail(link, 1)
    with pytest.raises(errors.PeerUnreachable) as refused:
        link.require_closed()
    assert refused.value.data == {"node": "node1", "retry_after_s": 1.0}


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (errors.PeerUnreachable("x"), True),
        (errors.Unavailable("it fell silent"), True),
        (errors.NotFound("x"), False),
        (errors.Corrupt("x"), False),
        (errors.BrokenPeer("x"), False),
        (errors.Cancelled("x"), False),
        (errors.QuotaExceeded("the disk here is full"), False),
        (errors.StoreFailed("the disk here failed"), False),
    ],
)
def test_only_trouble_of_the_link_counts(link: Link, error: errors.ReplicatorError, counts: bool) -> None:
    fail(link, 10, error)
    assert (link.state == "open") is counts


def test_one_may_try_when_the_time_is_over(link: Link, clock: FrozenClock) -> None:
    fail(link, 3)
    pass_by(clock, 1.0)
    link.require_closed()
    with pytest.raises(errors.PeerUnreachable):
        link.require_closed()
    link.worked(0, 0)
    link.require_closed()
    link.require_closed()
    assert link.state == "closed"


def test_the_time_grows_with_each_failed_try_up_to_its_bound(link: Link, clock: FrozenClock) -> None:
    fail(link, 3)
    waited = []
    for _ in range(9):
        with pytest.raises(errors.PeerUnreachable) as refused:
            link.require_closed()
        waited.append(refused.value.data["retry_after_s"])
        pass_by(clock, waited[-1])
        link.require_closed()
        link.failed(DOWN)
    assert waited == [1, 2, 4, 8, 16, 32, LONGEST_S, LONGEST_S, LONGEST_S]


def test_nodes_do_not_all_come_back_at_once(clock: FrozenClock) -> None:
    waited = set()
    for seed in range(20):
        link = Links(clock, random.Random(seed), failures_max=1).of(SOURCE)
        link.failed(DOWN)
        with pytest.raises(errors.PeerUnreachable) as refused:
            link.require_closed()
        waited.add(refused.value.data["retry_after_s"])
    assert len(waited) > 10


def test_streams_that_fail_while_it_is_open_do_not_keep_it_open(link: Link, clock: FrozenClock) -> None:
    fail(link, 20)
    pass_by(clock, 1.0)
    link.require_closed()


@pytest.mark.parametrize("ends", [lambda _: None, lambda link: link.failed(errors.Cancelled("x"))])
def test_a_try_that_says_nothing_does_not_keep_others_away_for_ever(
    link: Link, clock: FrozenClock, ends: Callable[[Link], None]
) -> None:
    fail(link, 3)
    pass_by(clock, 1.0)
    link.require_closed()
    ends(link)
    pass_by(clock, LONGEST_S)
    link.require_closed()


def test_nothing_is_said_of_a_rate_before_bytes_came(link: Link) -> None:
    link.worked(0, 0)
    assert link.rate_bytes_per_s is None


def test_the_rate_is_over_busy_time_alone(link: Link, clock: FrozenClock) -> None:
    for _ in range(10):
        pass_by(clock, 3600.5)
        link.worked(50 * MIB, 0.5)
    assert link.rate_bytes_per_s == pytest.approx(100 * MIB)


def test_the_rate_is_that_of_all_streams_together(link: Link, clock: FrozenClock) -> None:
    for _ in range(10):
        pass_by(clock, 1.0)
        for _ in range(4):
            link.worked(25 * MIB, 1.0)
    assert link.rate_bytes_per_s == pytest.approx(100 * MIB)


def test_the_rate_follows_a_link_that_changes(link: Link, clock: FrozenClock) -> None:
    for rate in (100 * MIB, MIB):
        for _ in range(60):
            pass_by(clock, 1.0)
            link.worked(rate, 1.0)
        assert link.rate_bytes_per_s == pytest.approx(rate, rel=0.3)


def test_each_source_has_a_link_of_its_own_and_their_number_is_bounded(clock: FrozenClock) -> None:
    links = Links(clock, random.Random(1), failures_max=1)
    fail(links.of(SOURCE), 1)
    links.of(NodeName("node2")).require_closed()
    assert links.of(SOURCE).state == "open"
    for number in range(3000):
        links.of(NodeName(f"n{number}"))
    assert len(links.all()) <= 1024
