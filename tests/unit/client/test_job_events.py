"""A job's events arrive once each and in order, whatever becomes of the connections they come over."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from replicator.client import job_events
from replicator.client.control_plane import ControlPlaneClient
from replicator.client.event_stream import EVENT_BYTES_MAX, EventDecoder, ServerSentEvent
from replicator.kernel.errors import BrokenPeer, NotFound, Unavailable
from replicator.wire.jobs import JobEvent, JobView
from replicator.wire.problem import MEDIA_TYPE, make_problem

MOMENT = "2026-01-02T03:04:05.000Z"
Told = JobEvent | JobView


def event(number: int) -> bytes:
    data = JobEvent.model_validate({"id": number, "at": MOMENT, "name": "job.running", "fields": {}})
    return f"event: job.running\ndata: {data.model_dump_json()}\nid: {number}\n\n".encode()


def progress(status: str) -> bytes:
    view = JobView.model_validate(JobView.model_config["json_schema_extra"]["example"] | {"status": status})  # type: ignore[index,operator]
    return f"event: progress\ndata: {view.model_dump_json(by_alias=True)}\n\n".encode()


END = progress("succeeded")
BEAT = b": heartbeat\n\n"


async def stream(content: bytes) -> AsyncIterator[bytes]:
    yield content


def told(
    answers: Iterator[bytes | Exception | httpx.Response], **options: Any
) -> tuple[list[Told], list[str]]:
    """What came, and the last event id that each connection asked to go on from."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["Last-Event-ID"])
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, httpx.Response) else httpx.Response(200, content=stream(found))

    async def run() -> list[Told]:
        async with ControlPlaneClient("http://h", transport=httpx.MockTransport(answer)) as client:
            return [each async for each in client.job_events(7, **options)]

    return asyncio.run(run()), asked


def ids(came: list[Told]) -> list[int]:
    return [each.id for each in came if isinstance(each, JobEvent)]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "_RETRY_SECONDS_MIN", 0.001)
    monkeypatch.setattr(job_events, "RETRY_SECONDS_MAX", 0.001)


def test_events_come_until_the_job_has_ended() -> None:
    came, asked = told(iter([event(1) + BEAT + progress("running") + event(2) + END]))
    assert ids(came) == [1, 2]
    assert isinstance(came[-1], JobView)
    assert came[-1].status == "succeeded"
    assert asked == ["0"]


@pytest.mark.parametrize("lost", [httpx.ReadError("reset"), b"", httpx.Response(503)], ids=repr)
def test_a_lost_connection_goes_on_behind_the_last_event(lost: bytes | Exception | httpx.Response) -> None:
    half = event(4)[:20]
    came, asked = told(iter([event(1) + event(2) + half, lost, event(3) + half, event(4) + END]))
    assert ids(came) == [1, 2, 3, 4]
    assert asked == ["0", "2", "2", "3"]


def test_it_begins_where_it_is_told_to() -> None:
    assert told(iter([event(9) + END]), after=8)[1] == ["8"]


def test_a_control_plane_that_stays_away_is_given_up() -> None:
    with pytest.raises(Unavailable):
        told(iter([b""]), patience_s=0)


def test_what_will_not_get_better_is_not_asked_again() -> None:
    problem = make_problem(404, "there is no job 7", "not-found").model_dump_json()
    gone = httpx.Response(404, content=problem, headers={"Content-Type": MEDIA_TYPE})
    with pytest.raises(NotFound):
        told(iter([gone]))


@pytest.mark.parametrize("garbage", [b"data: {}\n\n", b"event: progress\ndata: 1\n\n", b"data: \xff\n\n"])
def test_what_is_no_event_is_a_broken_peer(garbage: bytes) -> None:
    with pytest.raises(BrokenPeer):
        told(iter([garbage]), patience_s=0)


def test_blocks_may_end_anywhere() -> None:
    stream = "event: é\ndata: {1}\ndata:2\nid: 5\n\n: beat\n\ndata: x\n\n".encode()
    decoder = EventDecoder()
    events = [found for byte in stream for found in decoder.feed(bytes([byte]))]
    assert events == [ServerSentEvent("é", "{1}\n2"), ServerSentEvent("", ""), ServerSentEvent("", "x")]


@pytest.mark.parametrize("filler", [b"x", b"data: x\n"])
def test_an_event_without_end_is_a_broken_peer(filler: bytes) -> None:
    decoder, block = EventDecoder(), filler * (256 * 1024 // len(filler))
    blocks = itertools.repeat(block, 2 * EVENT_BYTES_MAX // len(block))
    with pytest.raises(BrokenPeer, match="more than"):
        list(itertools.chain.from_iterable(map(decoder.feed, blocks)))
