"""The link between two nodes is cut in the middle of a pull, or before it: the job waits, and goes on."""

import random

import pytest

from replicator.testing.linked_cluster import LinkedCluster, pull_over_a_cut
from replicator.testing.pull_accounts import require_whole
from replicator.testing.waiting import wait_until

pytestmark = pytest.mark.root


def test_a_pull_goes_on_when_the_link_is_back(linked: LinkedCluster, seed: int) -> None:
    pull_over_a_cut(linked, random.Random(seed), "both")


def test_a_job_that_begins_meanwhile_waits_for_it(linked: LinkedCluster, seed: int) -> None:
    data = random.Random(seed).randbytes(1024 * 1024)
    refs = linked.put("small", data)
    linked.network.cut()
    job = linked.migrate("small")
    assert wait_until(lambda: _reported(linked, job), "it is told why it waits") == ("running", "node-down")
    linked.network.heal()
    ended = linked.ended(job)
    assert linked.read("small") == data
    require_whole(ended, refs, cuts=0)


def _reported(linked: LinkedCluster, job_id: int) -> tuple[str, str] | None:
    job = linked.job(job_id)
    return (job.status, job.error.error_class) if job.error is not None else None
