"""Bandwidth limits: what passes in a time, in which order, and that both can change while somebody waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from replicator.data_plane.replication.rate import Pacer
from replicator.kernel.errors import Cancelled
from replicator.kernel.names import NodeName
from replicator.testing.waiting import DEADLINE_S, wait_until
from replicator.wire.sessions import RateLimits

SOURCE = NodeName("node1")
OTHER = NodeName("node3")
KIB = 1024


class Time:
    """A clock that waiting threads leave alone: the test lets time pass, once they wait."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waiting = 0
        self._conditions: set[threading.Condition] = set()

    def wall_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s

    def wait(self, condition: threading.Condition, seconds: float) -> None:
        self._conditions.add(condition)
        self.waiting += 1
        condition.wait(DEADLINE_S)
        self.waiting -= 1

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)

    def pass_by(self, seconds: float) -> None:
        for condition in self._conditions:
            with condition:
                self.now_s += seconds
                condition.notify_all()


class Stage:
    """A pacer, and threads that take from it."""

    def __init__(self) -> None:
        self.time = Time()
        self.pacer = Pacer(self.time, wait=self.time.wait, sleep=self.time.sleep)
        self.cancelled = threading.Event()
        self.order: list[str] = []
        self.threads = ThreadPoolExecutor(8)

    def take(self, n_bytes: int, *, name: str = "", source: NodeName = SOURCE, job: int = 1) -> Future[None]:
        """Take in a thread; returns once it waits or has what it wants."""
        before = self.time.waiting
        taken = self.threads.submit(self._take, n_bytes, name, source, job)
        wait_until(lambda: taken.done() or self.time.waiting > before, "the thread takes or waits")
        return taken

    def give(self, n_bytes: int, *, gone: threading.Event | None = None) -> Future[None]:
        """Pay for an answer in a thread; returns once it waits or may go."""
        before = self.time.waiting
        paid = self.threads.submit(
            self.pacer.take_egress_blocking, n_bytes, gone=self.cancelled if gone is None else gone
        )
        wait_until(lambda: paid.done() or self.time.waiting > before, "the answer may go or waits")
        return paid

    def _take(self, n_bytes: int, name: str, source: NodeName, job: int) -> None:
        self.pacer.take(n_bytes, source=source, job=job, cancelled=self.cancelled)
        self.order.append(name)


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.pacer.set_limits(RateLimits())
    stage.threads.shutdown()


def test_without_limits_nobody_waits(stage: Stage) -> None:
    for _ in range(100):
        assert stage.take(1 << 30).done()


@pytest.mark.parametrize(
    "limits",
    [
        RateLimits(ingress_bytes_per_s=KIB),
        RateLimits(links={SOURCE: KIB}),
        RateLimits(jobs={1: KIB}),
        RateLimits(ingress_bytes_per_s=KIB, links={SOURCE: 8 * KIB}, jobs={1: 100 * KIB}),
        RateLimits(ingress_bytes_per_s=100 * KIB, links={SOURCE: KIB}, jobs={1: 8 * KIB}),
    ],
)
def test_the_lowest_of_the_limits_that_concern_a_pull_holds(stage: Stage, limits: RateLimits) -> None:
    stage.pacer.set_limits(limits)
    assert stage.take(10 * KIB).done()
    waiting = stage.take(KIB)
    stage.time.pass_by(9.9)
    assert not waiting.done()
    stage.time.pass_by(0.2)
    waiting.result(DEADLINE_S)


def test_limits_of_other_links_and_jobs_do_not_concern_it(stage: Stage) -> None:
    stage.pacer.set_limits(RateLimits(egress_bytes_per_s=KIB, links={OTHER: KIB}, jobs={2: KIB}))
    for _ in range(10):
        assert stage.take(1 << 20).done()


def test_time_in_which_nobody_took_is_not_saved_up(stage: Stage) -> None:
    stage.pacer.set_limits(RateLimits(ingress_bytes_per_s=100 * KIB))
    stage.time.now_s = 3600.0
    assert stage.take(100 * KIB).done()
    assert not stage.take(KIB).done()


def test_those_who_wait_go_on_in_the_order_they_came(stage: Stage) -> None:
    stage.pacer.set_limits(RateLimits(ingress_bytes_per_s=KIB))
    stage.take(KIB, name="first")
    waiting = [stage.take(KIB, name=name, job=job) for job, name in enumerate(("second", "third", "fourth"))]
    for each in waiting:
        stage.time.pass_by(1.0)
        each.result(DEADLINE_S)
    assert stage.order == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize("after", [RateLimits(), RateLimits(jobs={1: 1 << 40})])
def test_a_limit_that_is_raised_or_taken_away_frees_who_waits(stage: Stage, after: RateLimits) -> None:
    stage.pacer.set_limits(RateLimits(jobs={1: KIB}))
    stage.take(1 << 30)
    waiting = stage.take(1)
    stage.pacer.set_limits(after)
    stage.time.pass_by(0.1)
    waiting.result(DEADLINE_S)


def test_a_lower_limit_holds_for_who_waits_already(stage: Stage) -> None:
    stage.pacer.set_limits(RateLimits(jobs={1: 100 * KIB}))
    stage.take(100 * KIB)
    waiting = stage.take(1)
    stage.pacer.set_limits(RateLimits(jobs={1: 10 * KIB}))
    stage.time.pass_by(9.5)
    assert not waiting.done()
    stage.time.pass_by(1.0)
    waiting.result(DEADLINE_S)


def test_one_who_is_cancelled_leaves_the_bytes_to_those_behind(stage: Stage) -> None:
    stage.pacer.set_limits(RateLimits(ingress_bytes_per_s=KIB))
    stage.take(KIB)
    stopped = stage.take(3600 * KIB)
    other = threading.Event()
    behind = stage.threads.submit(stage.pacer.take, KIB, source=OTHER, job=2, cancelled=other)
    wait_until(lambda: stage.time.waiting == 2, "both wait")
    stage.cancelled.set()
    stage.time.pass_by(1.1)
    with pytest.raises(Cancelled):
        stopped.result(DEADLINE_S)
    behind.result(DEADLINE_S)


def test_a_wait_ends_soon_after_the_event_is_set_with_nobody_to_notify() -> None:
    """With the real way to wait: the limit would let these bytes pass in a month."""
    pacer = Pacer(Time())
    pacer.set_limits(RateLimits(ingress_bytes_per_s=KIB))
    cancelled = threading.Event()
    pacer.take(1 << 40, source=SOURCE, job=1, cancelled=cancelled)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(pacer.take, 1, source=SOURCE, job=1, cancelled=cancelled)
        cancelled.set()
        with pytest.raises(Cancelled):
            waiting.result(DEADLINE_S)


def test_egress_is_one_limit_for_threads_and_for_the_event_loop(stage: Stage) -> None:
    stage.pacer.set_limits(RateLimits(egress_bytes_per_s=KIB, ingress_bytes_per_s=1 << 40))
    asyncio.run(stage.pacer.take_egress(10 * KIB))
    asyncio.run(stage.pacer.take_egress(KIB))
    assert stage.time.now_s == pytest.approx(10.0, abs=0.1)
    waiting = stage.give(1)
    stage.time.pass_by(1.1)
    waiting.result(DEADLINE_S)


def test_answers_that_nobody_waits_for_leave_the_bytes_and_their_threads_to_others(stage: Stage) -> None:
    stage.pacer.set_limits(RateLimits(egress_bytes_per_s=KIB))
    left = [stage.give(3600 * KIB) for _ in range(7)]
    other = stage.give(1, gone=threading.Event())
    stage.cancelled.set()
    stage.time.pass_by(5.0)
    for each in left:
        with pytest.raises(Cancelled):
            each.result(DEADLINE_S)
    other.result(DEADLINE_S)


def test_a_short_answer_does_not_wait_for_the_end_of_a_long_one(stage: Stage) -> None:
    stage.pacer.set_limits(RateLimits(egress_bytes_per_s=KIB))
    stage.give(3600 * KIB)
    short = stage.give(1)
    stage.time.pass_by(1.1)
    short.result(DEADLINE_S)
    stage.cancelled.set()


async def _take_and_give_up(pacer: Pacer) -> None:
    """A client went away while its answer waited for bandwidth."""
    async with asyncio.timeout(0):
        await pacer.take_egress(1 << 40)


def test_an_answer_that_is_given_up_leaves_the_bytes_to_others(stage: Stage) -> None:
    stage.pacer.set_limits(RateLimits(egress_bytes_per_s=KIB))
    asyncio.run(stage.pacer.take_egress(KIB))
    with pytest.raises(TimeoutError):
        asyncio.run(_take_and_give_up(stage.pacer))
    asyncio.run(stage.pacer.take_egress(1))
    assert stage.time.now_s == pytest.approx(1.0, abs=0.1)


def test_a_slow_node_sends_in_parts_that_nobody_takes_for_silence(stage: Stage) -> None:
    assert stage.pacer.egress_part_bytes(2_000_000) == 2_000_000
    stage.pacer.set_limits(RateLimits(egress_bytes_per_s=100_000))
    assert stage.pacer.egress_part_bytes(2_000_000) == 50_000
    assert stage.pacer.egress_part_bytes(10_000) == 10_000
