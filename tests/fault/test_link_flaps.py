"""A link goes away and comes back again and again, shorter and longer than the nodes' patience."""

import random

import pytest

from replicator.testing.linked_cluster import LinkedCluster
from replicator.testing.pull_accounts import require_whole
from replicator.testing.waiting import wait_until

MEBIBYTE = 1024 * 1024
SIZE = 12 * MEBIBYTE
CYCLES = 3

pytestmark = pytest.mark.root


def test_every_time_it_is_there_the_pull_gets_on(linked: LinkedCluster, seed: int, rounds: int) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(SIZE)
    cycles = CYCLES * rounds
    refs = linked.put("big", data)
    linked.limit(4 * MEBIBYTE)
    job = linked.migrate("big")
    for cycle in range(1, cycles + 1):
        linked.wait_until_stored(cycle * SIZE // (cycles + 2))
        failed = linked.failed_attempts()
        linked.network.cut()
        if cycle == 1 or rng.random() < 0.5:
            wait_until(lambda: linked.failed_attempts() > failed, "the attempt is given up")  # noqa: B023
        linked.network.heal()
    linked.limit(None)
    ended = linked.ended(job)
    assert linked.read("big") == data
    require_whole(ended, refs, cuts=cycles)
