"""A source is killed in the middle of a pull: the job waits, goes on when it is back, and sends nothing twice."""

import random
from pathlib import Path

from replicator.testing.cluster import PullCluster, require_adds_up, wire_bytes_max
from replicator.testing.waiting import wait_until

MEBIBYTE = 1024 * 1024
SIZE = 24 * MEBIBYTE
# What the kernel took from the source still arrives after its death.
SENT_AHEAD_BYTES_MAX = 12 * MEBIBYTE


def test_the_pull_goes_on_where_it_was(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(SIZE)
    with PullCluster(tmp_path) as cluster:
        refs = cluster.put("big", data)
        cluster.gate.hold_at(rng.randrange(4 * MEBIBYTE, SIZE - SENT_AHEAD_BYTES_MAX))
        job = cluster.migrate("big")
        cluster.gate.wait_until_held()
        cluster.source.kill()
        cluster.gate.release()
        wait_until(lambda: cluster.destination.events("task.ended"), "the first attempt fails")
        assert cluster.destination.events("task.ended")[0]["outcome"] == "failed"

        missing = cluster.missing(refs)
        assert 0 < len(missing) < len(refs)
        assert cluster.read("big") is None
        assert cluster.job(job).status == "running"
        passed = cluster.gate.passed_bytes
        cluster.source.start()
        ended = cluster.ended(job)
        require_adds_up(ended, SIZE, passed_bytes=cluster.gate.passed_bytes)
        assert ended.progress.bytes_transferred == SIZE
        assert cluster.read("big") == data
        again = cluster.gate.passed_bytes - passed
        assert again <= wire_bytes_max(refs, wanted=missing, attempts=ended.attempts)


def test_an_object_that_did_not_survive_at_the_source_fails_the_job_with_that_reason(tmp_path: Path) -> None:
    with PullCluster(tmp_path) as cluster:
        cluster.source.stop()
        job = cluster.migrate("never-there")
        wait_until(lambda: cluster.job(job).error, "the source is found to be away")
        error = cluster.job(job).error
        assert error is not None
        assert error.error_class in ("node-down", "transient")
        cluster.source.start()
        ended = cluster.ended(job)
        assert ended.status == "failed"
        assert ended.error is not None
        assert (ended.error.error_class, ended.error.code) == ("permanent", "not-found")
        assert "never-there" in ended.error.message
        assert cluster.read("never-there") is None
