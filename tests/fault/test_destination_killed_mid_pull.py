"""A destination is killed in the middle of a pull: the job succeeds, and what had arrived is not sent again."""

import random
from pathlib import Path

from replicator.data_plane.replication.engine import PullBounds
from replicator.testing.cluster import PullCluster, require_adds_up, wire_bytes_max
from replicator.testing.waiting import wait_until

MEBIBYTE = 1024 * 1024
SIZE = 24 * MEBIBYTE
# The reader of each stream fills blocks of a mebibyte, of which one may be in hand and not complete, and a
# chunk's end may be missing behind it; the rest is what the gate's and the kernel's buffers hold.
UNDERWAY_BYTES_MAX = PullBounds().streams_per_source * 3 * MEBIBYTE


def test_what_arrived_before_the_kill_is_not_sent_again(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(SIZE)
    with PullCluster(tmp_path) as cluster:
        refs = cluster.put("big", data)
        held_at = rng.randrange(10 * MEBIBYTE, SIZE - 2 * MEBIBYTE)
        cluster.gate.hold_at(held_at)
        job = cluster.migrate("big")
        cluster.gate.wait_until_held()
        arrived = held_at - UNDERWAY_BYTES_MAX
        wait_until(lambda: cluster.stored_bytes() >= arrived, "the destination stores what has passed")
        cluster.destination.kill()

        cluster.destination.start()
        missing = cluster.missing(refs)
        assert sum(ref.length for ref in missing) <= SIZE - arrived + MEBIBYTE
        assert cluster.read("big") is None
        passed = cluster.gate.passed_bytes
        cluster.gate.release()
        ended = cluster.ended(job)
        require_adds_up(ended, SIZE)
        assert ended.attempts > 1
        assert cluster.read("big") == data
        again = cluster.gate.passed_bytes - passed
        assert again >= sum(ref.length for ref in missing)
        assert again <= wire_bytes_max(refs, wanted=missing, attempts=ended.attempts)


def test_killed_again_and_again_it_gets_there_and_sends_little_twice(
    tmp_path: Path, seed: int, rounds: int
) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(SIZE)
    kills = 3 * rounds
    with PullCluster(tmp_path) as cluster:
        refs = cluster.put("big", data)
        job = 0
        for _ in range(kills):
            cluster.gate.hold_at(cluster.gate.passed_bytes + rng.randrange(1, SIZE // (kills + 2)))
            job = job or cluster.migrate("big")
            cluster.gate.wait_until_held()
            cluster.destination.kill()
            cluster.gate.release()
            cluster.destination.start()
        ended = cluster.ended(job)
        require_adds_up(ended, SIZE)
        assert cluster.read("big") == data
        whole = wire_bytes_max(refs, wanted=refs, attempts=ended.attempts)
        assert cluster.gate.passed_bytes <= whole + 2 * kills * UNDERWAY_BYTES_MAX
