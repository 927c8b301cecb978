"""Following a job ends when the job does, whatever happens to the control plane in between."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, get_args

import httpx
import pytest

from replicator.cli import following
from replicator.cli.commands.jobs import Command, Outcome, Status
from replicator.cli.job_text import facts, plan_lines, root_lines, saved_line, summary
from replicator.cli.progress import Reading
from replicator.client.control_plane import ControlPlaneClient
from replicator.kernel.errors import PeerUnreachable
from replicator.wire import jobs as wire
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
            "selection": "demo.bin",
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


Answer = JobView | list[JobView] | Exception
"""Of a request: the job, a stream of progress, or an error."""


def follow(answers: Iterator[Answer]) -> tuple[JobView, list[Reading]]:
    def answer(request: httpx.Request) -> httpx.Response:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        assert request.url.path.endswith("/events") == isinstance(found, list), request.url
        if isinstance(found, list):
            return httpx.Response(200, content=stream(found))
        return httpx.Response(200, content=found.model_dump_json(by_alias=True))

    async def run() -> tuple[JobView, list[Reading]]:
        recorder = Recorder()
        async with ControlPlaneClient("http://h", transport=httpx.MockTransport(answer)) as client:
            return await following.follow(client, job("queued"), recorder), recorder.readings

    return asyncio.run(run())


async def stream(views: list[JobView]) -> AsyncIterator[bytes]:
    for view in views:
        yield f"event: progress\ndata: {view.model_dump_json(by_alias=True)}\n\n".encode()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS_MIN", 0.001)
    monkeypatch.setattr(following, "POLL_SECONDS_MAX", 0.001)


def test_a_job_is_followed_to_its_end() -> None:
    ended, readings = follow(iter([[job("running"), job("succeeded")]]))
    assert ended.status == "succeeded"
    assert [reading.state for reading in readings] == ["queued", "running", "succeeded"]


@pytest.mark.parametrize(
    "broken", [httpx.ConnectError("refused"), [], [job("running")]], ids=["refused", "silent", "cut"]
)
def test_where_its_events_break_off_the_job_is_asked_for(broken: Answer) -> None:
    ended, readings = follow(iter([broken, job("running"), job("failed")]))
    assert ended.status == "failed"
    assert readings[-1].state == "failed"


def test_a_restart_of_the_control_plane_is_waited_out() -> None:
    lost: list[Answer] = [
        httpx.ConnectError("refused"),
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
    ]
    ended, readings = follow(iter([*lost, job("failed")]))
    assert ended.status == "failed"
    assert any("asking again" in reading.note for reading in readings)


def test_a_control_plane_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(PeerUnreachable):
        follow(iter([httpx.ConnectError("refused"), httpx.ConnectError("refused")]))


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
    assert following.reading_of(moving) == Reading(
        done=50, total=100, deduplicated=30, objects_total=1, rate=10.0, remaining_s=5.0, state="running"
    )
    assert following.reading_of(job("queued")).total is None


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
    assert summary(done) == (
        "job 7 succeeded: demo.bin is on node2; of 100.0 MB, 2.0 MB were sent and 98.0 MB were there already; "
        "2.0 s, 50.0 MB/s"
    )
    error = {"class": "permanent", "code": "not-found", "message": "node1 has no object 'demo.bin'"}
    assert summary(job("failed", error=error)) == "job 7 failed: node1 has no object 'demo.bin' (not-found)"
    waiting = job("queued", waiting_for="node2 to connect")
    assert summary(waiting) == "job 7 queued: demo.bin from node1 to node2, waiting for node2 to connect"


def test_a_summary_tells_what_came_from_what_travelled() -> None:
    delta = job(
        "succeeded",
        progress={
            "bytes_logical": 100_000_000,
            "bytes_transferred": 8_000_000,
            "bytes_deduplicated": 92_000_000,
            "bytes_saved": 6_000_000,
            "bytes_wire": 2_100_000,
        },
    )
    assert "of 100.0 MB, 8.0 MB were sent as 2.1 MB and 92.0 MB were there already" in summary(delta)
    assert "8.0 MB were lacking, 6.0 MB of them were saved, 2.1 MB were received" in saved_line(delta)
    assert saved_line(job("succeeded")) == ""


def test_a_job_about_many_objects_says_how_many_and_how_to_see_what_failed() -> None:
    counts = {"objects_planned": 12, "objects_verified": 7, "objects_skipped": 5, "objects_deleted": 3}
    many = {"object_id": None, "selection": "photos/** in bucket media"}
    done = summary(job("succeeded", progress=counts, **many))
    assert "photos/** in bucket media is on node2: 7 objects came, 5 were there, 3 were deleted there" in done
    failed = summary(job("partial", progress=counts | {"objects_failed": 2}, **many))
    assert "2 of 12 objects failed, see 'replicator job 7 --objects --outcome failed'" in failed


PLAN = {
    "job_id": 7,
    "objects_to_transfer": 12,
    "objects_unchanged": 400,
    "bytes_logical": 261_436_829,
    "bytes_lacking": 8_412_345,
    "bytes_deduplicated": 253_024_484,
    "estimate_bytes_saved": 6_000_000,
    "estimate_seconds": 1.5,
    "link_bytes_per_second": 30e6,
}


def test_a_dry_run_shows_exact_bytes_and_apart_from_them_estimates() -> None:
    planned = job("succeeded", dry_run=True, plan=PLAN)
    assert "nothing changed" in summary(planned)
    text = "\n".join(plan_lines(planned))
    exact, estimates = text.split("Estimates")
    for figure in ("12", "400", "261,436,829", "8,412,345", "253,024,484"):
        assert figure in exact
    assert "6.0 MB" not in exact
    assert exact.index("unchanged") < exact.index("Of the objects to transfer") < exact.index("261,436,829")
    assert "6.0 MB" in estimates
    assert "1.5 s, at the measured 30.0 MB/s" in estimates


def test_a_run_is_shown_against_the_dry_run_before_it() -> None:
    run = job("succeeded", plan=PLAN | {"job_id": 6, "bytes_lacking_error": 0})
    text = "\n".join(plan_lines(run))
    assert "job 6" in text
    assert "8,412,345 (+0)" in text
    assert "Estimates" not in text
    assert list(plan_lines(job("succeeded"))) == []


@pytest.mark.parametrize("agree", [True, False])
def test_a_verification_says_whether_they_agree_and_shows_both_roots(agree: bool) -> None:
    roots = {"source_root": "a" * 64, "destination_root": ("a" if agree else "b") * 64}
    verdict = {**roots, "agree": agree, "differences": 0 if agree else 2}
    status: JobStatus = "succeeded" if agree else "failed"
    told = job(status, kind="verify", object_id=None, selection="photos/**", verdict=verdict, compared=1000)
    assert ("do not agree (differences: 2)" in summary(told)) is not agree
    assert "1,000 versions" in summary(told)
    text = "\n".join(root_lines(told))
    assert roots["source_root"] in text
    assert roots["destination_root"] in text


def test_facts_name_what_was_asked_for() -> None:
    told = facts(job("running", mode="move", bytes_per_second=10_000_000, priority=3))
    assert (told["kind"], told["bandwidth"], told["priority"]) == ("migrate, move", "10.0 MB/s", "3")


def test_the_options_know_every_value() -> None:
    assert get_args(Status) == get_args(JobStatus)
    assert get_args(Outcome) == get_args(wire.Outcome)
    assert set(get_args(Command)) == {"pause", "resume", "retry", "cancel"}
