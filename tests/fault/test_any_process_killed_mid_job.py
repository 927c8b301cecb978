"""Any of the three processes is killed at any moment of a few jobs: each job succeeds, and adds up."""

import random
from pathlib import Path

from replicator.testing.cluster import PullCluster, require_adds_up

MEBIBYTE = 1024 * 1024
OBJECTS = 3
OBJECT_BYTES = 8 * MEBIBYTE
KILLS = 3


def test_jobs_are_neither_stuck_nor_falsely_succeeded(tmp_path: Path, seed: int, rounds: int) -> None:
    rng = random.Random(seed)
    with PullCluster(tmp_path) as cluster:
        for turn in range(rounds):
            contents = {f"{turn}/{number}": rng.randbytes(OBJECT_BYTES) for number in range(OBJECTS)}
            for object_id, data in contents.items():
                cluster.put(object_id, data)
            cluster.gate.hold_at(cluster.gate.passed_bytes + rng.randrange(1, OBJECT_BYTES))
            jobs = {object_id: cluster.migrate(object_id) for object_id in contents}
            for _ in range(KILLS):
                strike(cluster, rng)
            cluster.gate.release()
            for object_id, job in jobs.items():
                check(cluster, object_id, job, contents[object_id])


def strike(cluster: PullCluster, rng: random.Random) -> None:
    """Kill one process where the gate holds, and let a little more pass when it is back, or before."""
    cluster.gate.wait_until_held()
    victim = rng.choice([cluster.control_plane, cluster.source, cluster.destination])
    print(f"{victim.name} is killed when {cluster.gate.passed_bytes} bytes have passed")
    victim.kill()
    further = cluster.gate.passed_bytes + rng.randrange(1, OBJECT_BYTES // 2)
    if rng.random() < 0.5:
        cluster.gate.hold_at(further)
    victim.start()
    cluster.gate.hold_at(further)


def check(cluster: PullCluster, object_id: str, job: int, data: bytes) -> None:
    ended = cluster.ended(job)
    require_adds_up(ended, len(data))
    assert cluster.read(object_id) == data
