"""A control plane is killed in the middle of a job: the pull goes on, and the job ends as it should."""

import random
from pathlib import Path

from replicator.testing.cluster import PullCluster, require_adds_up, wire_bytes_max
from replicator.testing.waiting import wait_until

MEBIBYTE = 1024 * 1024
SIZE = 24 * MEBIBYTE


def test_a_pull_that_ends_while_it_is_away_is_reported_when_it_is_back(tmp_path: Path, seed: int) -> None:
    data = random.Random(seed).randbytes(SIZE)
    with PullCluster(tmp_path) as cluster:
        refs = cluster.put("big", data)
        cluster.gate.hold_at(SIZE // 2)
        job = cluster.migrate("big")
        cluster.gate.wait_until_held()
        cluster.control_plane.kill()
        cluster.gate.release()
        wait_until(lambda: cluster.destination.events("task.ended"), "the pull ends")
        assert cluster.read("big") == data
        passed = cluster.gate.passed_bytes

        cluster.control_plane.start()
        ended = cluster.ended(job)
        assert (ended.status, ended.attempts, ended.error) == ("succeeded", 1, None)
        require_adds_up(ended, SIZE, passed_bytes=passed)
        assert ended.progress.objects_verified == 1
        assert cluster.gate.passed_bytes == passed <= wire_bytes_max(refs, wanted=refs, attempts=1)


def test_a_pull_that_is_running_when_it_is_back_is_left_to_run(tmp_path: Path, seed: int) -> None:
    data = random.Random(seed).randbytes(SIZE)
    with PullCluster(tmp_path) as cluster:
        refs = cluster.put("big", data)
        cluster.gate.hold_at(SIZE // 2)
        job = cluster.migrate("big")
        cluster.gate.wait_until_held()
        cluster.control_plane.kill()
        cluster.control_plane.start()
        assert cluster.job(job).status == "running"
        cluster.gate.release()
        ended = cluster.ended(job)
        require_adds_up(ended, SIZE, passed_bytes=cluster.gate.passed_bytes)
        assert cluster.read("big") == data
        whole = wire_bytes_max(refs, wanted=refs, attempts=ended.attempts)
        assert cluster.gate.passed_bytes <= whole


def test_a_result_survives_the_death_of_the_destination_while_it_is_away(tmp_path: Path, seed: int) -> None:
    data = random.Random(seed).randbytes(SIZE)
    with PullCluster(tmp_path) as cluster:
        cluster.put("big", data)
        cluster.gate.hold_at(SIZE // 2)
        job = cluster.migrate("big")
        cluster.gate.wait_until_held()
        cluster.control_plane.kill()
        cluster.gate.release()
        wait_until(lambda: cluster.destination.events("task.ended"), "the pull ends")
        cluster.destination.kill()
        passed = cluster.gate.passed_bytes

        cluster.control_plane.start()
        cluster.destination.start()
        ended = cluster.ended(job)
        require_adds_up(ended, SIZE, passed_bytes=passed)
        assert ended.attempts == 1
        assert cluster.gate.passed_bytes == passed
        assert cluster.read("big") == data
