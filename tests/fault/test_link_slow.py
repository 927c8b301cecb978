"""A link that is slow or late is waited for; a connection that breaks costs what was under way."""

import random
from pathlib import Path

import pytest

from replicator.testing.cluster import PullCluster
from replicator.testing.pull_accounts import require_whole

MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(("bytes_per_s", "delay_s"), [(256 * 1024, 0.0), (None, 0.1)], ids=["slow", "late"])
def test_a_link_that_is_only_slow_is_waited_for(
    tmp_path: Path, seed: int, bytes_per_s: int | None, delay_s: float
) -> None:
    data = random.Random(seed).randbytes(MEBIBYTE)
    with PullCluster(tmp_path) as cluster:
        refs = cluster.put("small", data)
        cluster.gate.slow_to(bytes_per_s, delay_s=delay_s)
        ended = cluster.ended(cluster.migrate("small"))
        assert (ended.attempts, ended.error) == (1, None)
        assert cluster.read("small") == data
        require_whole(ended, refs, cuts=0)


def test_a_connection_that_breaks_in_the_middle_costs_only_what_was_under_way(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(16 * MEBIBYTE)
    with PullCluster(tmp_path) as cluster:
        refs = cluster.put("big", data)
        cluster.gate.hold_at(rng.randrange(4 * MEBIBYTE, 12 * MEBIBYTE))
        job = cluster.migrate("big")
        cluster.gate.wait_until_held()
        cluster.gate.cut()
        cluster.gate.release()
        ended = cluster.ended(job)
        assert cluster.read("big") == data
        require_whole(ended, refs, cuts=1)
