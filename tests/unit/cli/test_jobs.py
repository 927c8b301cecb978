"""Following a job ends when the job does, whatever happens to the control plane in between."""

import asyncio
from collections.abc import Iterator
from typing import Any, get_args

import httpx
import pytest

from replicator.cli import jobs
from replicator.cli.commands.jobs import Status
from replicator.cli.progress import Reading
from replicator.client.control_plane import ControlPlaneClient
from replicator.kernel.errors import PeerUnreachable
from replicator.wire.jobs import JobStatus, JobView

MOMENT = "2026-01-02T03:04:05.000Z"


def job(status: JobStatus, **changes: Any) -> JobView:
    return JobView.model_validate(
        {
            "id": 7,
            "kind": "migrate",
            "src_node": "node1",
            "dst_node": "node2",
            "object_id": "demo.bin",
            "status": status,
            "progress": {},
            "attempts": 1,
            "error": None,
            "created_at": MOMENT,
            "started_at": None,
            "finished_at": None,
            "updated_at": MOMENT,
            **changes,
        }
    )


class Recorder:
    def __init__(self) -> None:
        self.readings: list[Reading] = []

    def show(self, reading: Reading) -> None:
        self.readings.append(reading)


def follow(answers: Iterator[JobView | Exception]) -> tuple[JobView, list[Reading]]:
    def answer(_: httpx.Request) -> httpx.Response:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return httpx.Response(200, content=found.model_dump_json(by_alias=True))

    async def run() -> tuple[JobView, list[Reading]]:
        recorder = Recorder()
        async with ControlPlaneClient("http://h", transport=httpx.MockTransport(answer)) as client:
            return await jobs.follow(client, job("queued"), recorder), recorder.readings

    return asyncio.run(run())


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "POLL_SECONDS_MIN", 0.001)
    monkeypatch.setattr(jobs, "POLL_SECONDS_MAX", 0.001)


def test_a_job_is_followed_to_its_end() -> None:
    ended, readings = follow(iter([job("running"), job("succeeded")]))
    assert ended.status == "succeeded"
    assert [reading.state for reading in readings] == ["queued", "running", "succeeded"]


def test_a_restart_of_the_control_plane_is_waited_out() -> None:
    ended, readings = follow(iter([httpx.ConnectError("refused"), httpx.ReadError("reset"), job("failed")]))
    assert ended.status == "failed"
    assert any("asking again" in reading.note for reading in readings)


def test_a_control_plane_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(PeerUnreachable):
        follow(iter([httpx.ConnectError("refused")]))


def test_progress_counts_what_came_and_what_was_there() -> None:
    moving = job(
        "running",
        progress={
            "objects_planned": 1,
            "bytes_logical": 100,
            "bytes_transferred": 20,
            "bytes_deduplicated": 30,
            "rate_bytes_per_second": 10.0,
            "remaining_seconds": 5.0,
        },
    )
    assert jobs.reading_of(moving) == Reading(
        done=50, total=100, deduplicated=30, rate=10.0, remaining_s=5.0, state="running"
    )
    assert jobs.reading_of(job("queued")).total is None


def test_a_summary_says_what_happened() -> None:
    done = job(
        "succeeded",
        progress={
            "bytes_logical": 100_000_000,
            "bytes_transferred": 2_000_000,
            "bytes_deduplicated": 98_000_000,
        },
        finished_at="2026-01-02T03:04:07.000Z",
    )
    assert jobs.summary(done) == (
        "job 7 succeeded: demo.bin is on node2; of 100.0 MB, 2.0 MB were sent and 98.0 MB were there already; "
        "2.0 s, 50.0 MB/s"
    )
    error = {"class": "permanent", "code": "not-found", "message": "node1 has no object 'demo.bin'"}
    assert (
        jobs.summary(job("failed", error=error)) == "job 7 failed: node1 has no object 'demo.bin' (not-found)"
    )
    waiting = job("queued", waiting_for="node2 to connect")
    assert jobs.summary(waiting) == "job 7 queued: demo.bin from node1 to node2, waiting for node2 to connect"


def test_the_filter_knows_every_status() -> None:
    assert get_args(Status) == get_args(JobStatus)
