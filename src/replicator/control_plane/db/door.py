"""What the doors of all databases share: a bounded queue of units for one writing thread, and reading threads."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError

from replicator.control_plane.db.shared_writes import OTHERS, Shared
from replicator.kernel.errors import InvalidRequest, ReplicatorError, Unavailable
from replicator.runtime.logging import get_logger

Answer = TypeVar("Answer")

UNITS_WAITING_MAX = 4096
UNITS_PER_COMMIT_MAX = 256
READERS = 4
READS_WAITING_MAX = 1024
_NO_ANSWER = "the control plane's database does not answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """What a unit of work has: a connection in its transaction, and what came with it.

    `now_ms` is database time and `control_plane` the database's identity, where the door has read them; `topics`
    takes the topics that the unit wants woken once it is durable. `shared` is what the units of this transaction
    share, and None where there is one unit alone.
    """

    connection: sa.Connection
    now_ms: int | None = None
    control_plane: str | None = None
    shared: Shared | None = None
    topics: set[str] = field(default_factory=set)
    then: list[Callable[[], None]] = field(default_factory=list)
    """What is to be called once the unit is durable, on the event loop of its caller, whether that still waits or not."""


Work = Callable[[Transaction], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What a door tells of itself, in its own threads."""

    on_commit: Callable[[int], None] = lambda _: None
    """A commit has made that many units durable."""
    on_turn: Callable[[float], None] = lambda _: None
    """The turn was waited for that many seconds."""
    on_rerun: Callable[[str], None] = lambda _: None
    """Units are run again, for this reason: `connection` or `conflict`."""
    on_outcome: Callable[[bool], None] = lambda _: None
    """The outcome of a commit whose answer was lost has been found out: it had taken effect, or not."""


class Door(Protocol):
    """`ports.Database` for synchronous, re-runnable work on a connection."""

    async def transact(self, work: Work[Answer]) -> Answer:
        """What `work` returns, once it is durable."""
        ...

    async def read(self, work: Work[Answer]) -> Answer:
        """What `work` returns from a consistent view."""
        ...

    async def look(self, work: Work[Answer]) -> Answer:
        """The same as `read`, on a thread and a connection that no other read holds up: for short work."""
        ...

    async def check_writes(self) -> None:
        """Return if units that write can be durable now, as far as is known.

        Raises:
            Unavailable: they cannot.
        """
        ...

    def hurry(self) -> None:
        """The process is about to end: what waits for a server that is away waits a few seconds at most."""
        ...

    def close(self) -> None:
        """Finish what was accepted, then let go. Blocks until then."""
        ...


@dataclass(frozen=True, slots=True)
class Waiting:
    """A unit that waits for its answer since `accepted_s`, by the monotonic clock."""

    work: Work[Any]
    answer: Future[Any]
    loop: asyncio.AbstractEventLoop
    accepted_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Done:
    """A unit that was run, whose caller is told once that is durable."""

    unit: Waiting
    value: Any = None
    error: Exception | None = None
    then: Sequence[Callable[[], None]] = ()

    def tell(self) -> None:
        """Call what is to be called, and answer the caller."""
        self.tell_others()
        if self.error is None:
            self.unit.answer.set_result(self.value)
        else:
            self.unit.answer.set_exception(self.error)

    def tell_others(self) -> None:
        """Call what is to be called; nobody hears of an error there but the log."""
        try:
            for call in self.then:
                call()
        except Exception:  # noqa: BLE001 - the unit is durable, and others wait for their answers
            get_logger().exception("database.untold")


def tell_all(done: Sequence[Done]) -> None:
    """Answer the callers of `done`, each event loop woken once."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[Done]] = defaultdict(list)
    for each in done:
        by_loop[each.unit.loop].append(each)
    for loop, part in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_tell, part)


def tell_others(done: Sequence[Done]) -> None:
    """The same where the callers were told otherwise before it was known that these units are durable."""
    for each in done:
        with suppress(RuntimeError):
            each.unit.loop.call_soon_threadsafe(each.tell_others)


def _tell(done: Sequence[Done]) -> None:
    for each in done:
        each.tell()


class Writing:
    """A thread that gives the units that wait to `commit`, as many at once as there are.

    `commit` answers every unit that it is given, and raises nothing.
    """

    def __init__(self, commit: Callable[[list[Waiting]], None]) -> None:
        self._commit = commit
        self._waiting: queue.Queue[Waiting | None] = queue.Queue(UNITS_WAITING_MAX)
        self._closed = False
        self._thread = threading.Thread(target=self._until_closed, name="database-writer", daemon=True)
        self._thread.start()

    async def run(self, work: Work[Answer], *, within_s: float | None = None) -> Answer:
        """The answer of `work`.

        A caller that is cancelled leaves its unit undone if it had not begun, and done otherwise.

        Raises:
            Unavailable: the queue is full or closed, or there is no answer in time.
        """
        answer: Future[Answer] = Future()
        if self._closed:
            raise Unavailable("the control plane is shutting down")
        try:
            self._waiting.put_nowait(Waiting(work, answer, asyncio.get_running_loop()))
        except queue.Full as error:
            raise Unavailable("the control plane has too much to do; try again later") from error
        return await _answered(answer, within_s, f"{_NO_ANSWER}; what was asked may still take effect")

    def close(self) -> None:
        """Finish what was accepted. Blocks until then."""
        self._closed = True
        self._waiting.put(None)
        self._thread.join()

    def _until_closed(self) -> None:
        while (batch := self._next_batch()) is not None:
            if batch:
                self._commit(batch)

    def _next_batch(self) -> list[Waiting] | None:
        first = self._waiting.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < UNITS_PER_COMMIT_MAX:
            try:
                unit = self._waiting.get_nowait()
            except queue.Empty:
                break
            if unit is None:
                self._waiting.put(None)  # nothing is accepted any more, so there is room
                break
            batch.append(unit)
        return [unit for unit in batch if unit.answer.set_running_or_notify_cancel()]


class Reading:
    """A few threads that read."""

    def __init__(self, threads: int = READERS) -> None:
        self._waiting = 0
        self._closed = False
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="database-reader")

    async def run(self, read: Callable[[], Answer], *, within_s: float | None = None) -> Answer:
        """What `read` returns.

        Raises:
            Unavailable: too many wait, or there is no answer in time.
        """
        if self._closed or self._waiting >= READS_WAITING_MAX:
            raise Unavailable("the control plane has too much to do; try again later")
        self._waiting += 1
        try:
            return await _answered(self._threads.submit(read), within_s, _NO_ANSWER)
        finally:
            self._waiting -= 1

    @property
    def closed(self) -> bool:
        """Whether what has begun should end soon."""
        return self._closed

    def refuse(self) -> None:
        """Begin no more."""
        self._closed = True

    def close(self) -> None:
        """Wait for those that have begun."""
        self.refuse()
        self._threads.shutdown(cancel_futures=True)


WRITTEN = "replicator-written"
"""Key of `Connection.info`: whether the unit that runs has sent a statement that writes; the door sets it to False."""


def watch_for_writes(engine: sa.Engine, on_first: Callable[[sa.Connection], None] = lambda _: None) -> None:
    """Keeps `WRITTEN` for the connections of `engine`; `on_first` comes before the first such statement of a unit."""

    def note(connection: sa.Connection, _: object, statement: str, *_rest: object) -> None:
        info = connection.info
        # Until a unit runs there is no key.
        if info.get(WRITTEN, True) or info.get(OTHERS) or statement.startswith(("SELECT", "WITH")):
            return
        info[WRITTEN] = True
        on_first(connection)

    sa.event.listen(engine, "before_cursor_execute", note)


def refused(error: DBAPIError) -> ReplicatorError:
    """`error` for a caller, who can do something about it only where it is about what was sent."""
    if isinstance(error, DataError):
        return unstorable(error)
    unavailable = Unavailable(f"the control plane's database refuses: {error.orig}")
    unavailable.__cause__ = error
    return unavailable


def unstorable(error: Exception) -> InvalidRequest:
    """`error` for the caller who sent what no database of this kind can keep: again would be no better."""
    invalid = InvalidRequest("the control plane's database cannot keep a text or a number of this request")
    invalid.__cause__ = error
    return invalid


async def _answered(answer: Future[Answer], within_s: float | None, otherwise: str) -> Answer:
    try:
        async with asyncio.timeout(within_s) as limit:
            # Where time is up this also takes back what has not begun.
            return await asyncio.wrap_future(answer)
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise Unavailable(otherwise) from error
