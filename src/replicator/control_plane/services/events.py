"""What happens to a job, told to each reader as it happens.

Each look reads the events behind the last one told and the job itself in one transaction, so a job that has
ended is told after its last event. A slow reader is looked for less often; nothing is kept for it meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from replicator.control_plane.domain.finding import moment
from replicator.control_plane.events import Wakeups
from replicator.control_plane.ports import Database, Unit, job_topic
from replicator.control_plane.services.jobs import view_of
from replicator.kernel.errors import NotFound, Unavailable
from replicator.runtime.logging import get_logger
from replicator.wire.jobs import EVENTS_DROPPED, HEARTBEAT_SECONDS, TERMINAL_STATUSES, JobEvent, JobView

log = get_logger()
EVENTS_PER_LOOK = 256
LOOK_SECONDS_MIN = 0.1
"""However much happens."""
PROGRESS_SECONDS = 1.0

Told = JobEvent | JobView | None
"""An event, the job as it is now, or nothing: a sign of life."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What there was to tell at one moment; `more` events may be behind these."""

    events: Sequence[JobEvent]
    job: JobView
    more: bool

    @property
    def is_last(self) -> bool:
        """Nothing can follow."""
        return not self.more and self.job.status in TERMINAL_STATUSES


class Telling:
    """What one reader was told, and when, in seconds of any one clock. Pure."""

    def __init__(self, *, after: int, now_s: float) -> None:
        self.after = after
        self._shown: JobView | None = None
        self._progress_due_s = now_s
        self._heartbeat_due_s = now_s + HEARTBEAT_SECONDS

    def tell(self, look: Look, *, now_s: float) -> Sequence[Told]:
        """All of the events, the job if it has changed and its time has come, else a sign of life if it is due."""
        told: list[Told] = [*look.events]
        changed = look.job != self._shown and not look.more
        if look.is_last or (changed and now_s >= self._progress_due_s):
            self._shown, self._progress_due_s = look.job, now_s + PROGRESS_SECONDS
            told.append(look.job)
        if not told and now_s >= self._heartbeat_due_s:
            told.append(None)
        if told:
            self._heartbeat_due_s = now_s + HEARTBEAT_SECONDS
        if look.events:
            self.after = look.events[-1].id
        return told


@dataclass(slots=True, kw_only=True)
class Events:
    """Streams of events, at most `streams_max` at a time."""

    database: Database
    wakeups: Wakeups
    streams_max: int
    streams: int = field(default=0, init=False)
    """Open just now."""

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one stream; raises `Unavailable` where all are taken."""
        if self.streams >= self.streams_max:
            raise Unavailable(
                f"{self.streams_max} streams of events are open, which is all there may be: "
                "close some, or ask for the job itself now and then"
            )
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    async def require_job(self, job_id: int) -> None:
        """Raises `NotFound` where there is no such job."""
        await self.database.read(lambda unit: view_of(unit, job_id))

    async def follow(self, job_id: int, *, after: int) -> AsyncGenerator[Told, None]:
        """Events with ids above `after`, in order, and at most once a second the job, where it has changed.

        Ends with the job once it has ended and all its events are told; before that with the process, and while
        the database has too much to do: whoever follows asks again, with the last id.
        """
        now = asyncio.get_running_loop().time
        telling = Telling(after=after, now_s=now())
        with self.wakeups.watching(job_topic(job_id)) as woken:
            while not self.wakeups.closed:
                woken.clear()
                began_s = now()
                try:
                    look = await self.database.read(lambda unit: _look(unit, job_id, telling.after))
                except Unavailable as error:
                    log.warning("events.cut", job=job_id, after=telling.after, reason=error.message)
                    return
                except NotFound:  # kept long enough, just now
                    return
                for told in telling.tell(look, now_s=now()):
                    yield told
                if look.is_last:
                    return
                if not look.more:
                    await _pause(woken, until_s=began_s + LOOK_SECONDS_MIN)


async def _pause(woken: asyncio.Event, *, until_s: float) -> None:
    """Until something happens, at least until then and at most until there may be progress to tell."""
    try:
        async with asyncio.timeout(PROGRESS_SECONDS):
            await woken.wait()
    except TimeoutError:
        return
    await asyncio.sleep(max(0.0, until_s - asyncio.get_running_loop().time()))


def _look(unit: Unit, job_id: int, after: int) -> Look:
    events = unit.events.after(job_id, event_id=after, limit=EVENTS_PER_LOOK)
    told = [
        JobEvent(id=event.id, at=moment(event.at_ms), name=event.name, fields=dict(event.fields))
        for event in events
    ]
    if told and told[0].id > after + 1:
        told.insert(0, _dropped(told[0], after))
    return Look(events=told, job=view_of(unit, job_id), more=len(events) == EVENTS_PER_LOOK)


def _dropped(first: JobEvent, after: int) -> JobEvent:
    last = first.id - 1
    return JobEvent(id=last, at=first.at, name=EVENTS_DROPPED, fields={"events": last - after})
