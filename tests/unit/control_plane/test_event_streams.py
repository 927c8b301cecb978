"""What one reader of a job's events is told: every event once, progress now and then, and a sign of life."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest
from starlette.types import Message

from replicator.control_plane.api import job_events
from replicator.control_plane.api.job_events import EventStream
from replicator.control_plane.services.events import PROGRESS_SECONDS, Look, Telling, Told
from replicator.wire.jobs import HEARTBEAT_SECONDS, JobEvent, JobView

JOB = JobView.model_validate(JobView.model_config["json_schema_extra"]["example"])  # type: ignore[index]
ENDED = JOB.model_copy(update={"status": "succeeded"})


def event(number: int) -> JobEvent:
    return JobEvent(id=number, at=JOB.created_at, name="job.running", fields={})


def moved(attempts: int) -> JobView:
    return JOB.model_copy(update={"attempts": attempts})


def look(*numbers: int, job: JobView = JOB, more: bool = False) -> Look:
    return Look(events=[event(number) for number in numbers], job=job, more=more)


class Reader:
    def __init__(self) -> None:
        self.telling = Telling(after=0, now_s=0.0)

    def at(self, now_s: float, seen: Look) -> Sequence[Told]:
        return self.telling.tell(seen, now_s=now_s)


@pytest.fixture
def reader() -> Reader:
    return Reader()


def test_every_event_is_told_at_once_and_the_next_look_is_behind_it(reader: Reader) -> None:
    assert reader.at(0, look(1, 2)) == [event(1), event(2), JOB]
    assert reader.telling.after == 2
    assert reader.at(0.1, look(3)) == [event(3)]
    assert reader.telling.after == 3


def test_progress_is_told_where_it_has_changed_and_at_most_once_a_second(reader: Reader) -> None:
    assert reader.at(0, look()) == [JOB]
    assert reader.at(PROGRESS_SECONDS / 2, look(job=moved(2))) == []
    assert reader.at(PROGRESS_SECONDS, look(job=moved(3))) == [moved(3)]
    assert reader.at(9, look(job=moved(3))) == []


def test_the_end_is_told_at_once_and_after_every_event(reader: Reader) -> None:
    reader.at(0, look())
    behind = look(1, job=ENDED, more=True)
    assert reader.at(0.1, behind) == [event(1)]
    assert not behind.is_last
    last = look(2, job=ENDED)
    assert reader.at(0.2, last) == [event(2), ENDED]
    assert last.is_last


def test_who_hears_nothing_gets_a_sign_of_life(reader: Reader) -> None:
    reader.at(0, look())
    assert reader.at(HEARTBEAT_SECONDS - 1, look()) == []
    assert reader.at(HEARTBEAT_SECONDS, look()) == [None]
    assert reader.at(HEARTBEAT_SECONDS + 1, look()) == []
    assert reader.at(HEARTBEAT_SECONDS + 2, look(1)) == [event(1)]
    assert reader.at(2 * HEARTBEAT_SECONDS + 1, look()) == []


def test_a_client_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "STALL_SECONDS", 0.01)
    closed: list[bool] = []

    async def events() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b": heartbeat\n\n"
        finally:
            closed.append(True)

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def run() -> None:
        scope = {"type": "http", "asgi": {"spec_version": "2.3"}, "path": "/jobs/1/events"}
        async with asyncio.timeout(30):
            await EventStream(events())(scope, receive, send)
        assert closed

    asyncio.run(run())
