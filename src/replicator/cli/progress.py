"""How far something has come, on standard error: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from replicator.cli.units import bytes_text, duration_text, rate_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.text import Text

LINE_EVERY_SECONDS = 5.0
LINE_EVERY_FRACTION = 0.25

MonotonicSeconds = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Where something stands. Bytes, bytes per second, seconds; None where unknown.

    `done` is of `total`; of it, `deduplicated` was there already and `saved` was kept off the wire.
    `state` is one word that is news when it changes; `note` is a remark that may change all the time.
    """

    done: int
    total: int | None = None
    deduplicated: int = 0
    saved: int = 0
    objects_done: int = 0
    objects_total: int = 0
    rate: float | None = None
    remaining_s: float | None = None
    state: str = ""
    note: str = ""

    @property
    def fraction(self) -> float:
        """Part done, from 0 to 1; 0 while the total is unknown."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    @property
    def pace(self) -> str:
        """How far and how fast."""
        return _joined(self.state, self._bytes, *self._speed, self.note)

    @property
    def account(self) -> str:
        """How many objects, and what became of the bytes."""
        return _joined(self._objects, *self._parts)

    def __str__(self) -> str:
        return _joined(self.state, self._objects, self._bytes, *self._parts, *self._speed, self.note)

    @property
    def _objects(self) -> str:
        return f"{self.objects_done:,} of {self.objects_total:,} objects" if self.objects_total > 1 else ""

    @property
    def _bytes(self) -> str:
        return bytes_text(self.done) + ("" if self.total is None else f" of {bytes_text(self.total)}")

    @property
    def _parts(self) -> tuple[str, ...]:
        sent = self.done - self.deduplicated - self.saved
        return (
            f"{bytes_text(sent)} sent" if 0 < sent < self.done else "",
            f"{bytes_text(self.saved)} saved" if self.saved else "",
            f"{bytes_text(self.deduplicated)} there already" if self.deduplicated else "",
        )

    @property
    def _speed(self) -> tuple[str, ...]:
        return (
            rate_text(self.rate) if self.rate else "",
            f"{duration_text(self.remaining_s)} left" if self.remaining_s else "",
        )


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


class ProgressDisplay(Protocol):
    """Shows readings; each replaces the one before."""

    def show(self, reading: Reading) -> None:
        """Show `reading`, or skip it as too little news."""
        ...


class Silent:
    """Shows nothing."""

    def show(self, reading: Reading) -> None:
        """Do nothing."""


class Lines:
    """Plain lines: the first reading, each new state, and now and then a line in between."""

    def __init__(self, title: str, stream: TextIO, clock: MonotonicSeconds) -> None:
        self._title = title
        self._stream = stream
        self._clock = clock
        self._last: Reading | None = None
        self._said_s = 0.0

    def show(self, reading: Reading) -> None:
        """Print `reading` if it is news."""
        now_s = self._clock()
        if self._last is None or self._is_news(reading, self._last, now_s):
            self._last, self._said_s = reading, now_s
            print(f"{self._title}: {reading}", file=self._stream, flush=True)

    def _is_news(self, reading: Reading, last: Reading, now_s: float) -> bool:
        if reading == last:
            return False
        return (
            reading.state != last.state
            or reading.fraction - last.fraction >= LINE_EVERY_FRACTION
            or (reading.fraction == 1.0 and last.fraction < 1.0)
            or now_s - self._said_s >= LINE_EVERY_SECONDS
        )


class Bar:
    """A bar on a terminal, and a line below it: both fit a narrow one."""

    def __init__(self, progress: Progress, task: TaskID, below: Text) -> None:
        self._progress = progress
        self._task = task
        self._below = below

    def show(self, reading: Reading) -> None:
        """Redraw."""
        self._progress.update(
            self._task, completed=reading.done, total=reading.total or None, text=reading.pace
        )
        self._below.plain = reading.account


@contextmanager
def progress_display(
    title: str, *, silent: bool = False, clock: MonotonicSeconds = time.monotonic
) -> Iterator[ProgressDisplay]:
    """The display that suits standard error, while the context lasts."""
    if silent:
        yield Silent()
    elif sys.stderr.isatty():
        with _bar(title) as bar:
            yield bar
    else:
        yield Lines(title, sys.stderr, clock)


@contextmanager
def _bar(title: str) -> Iterator[Bar]:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.text import Text

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[text]}", markup=False),
    )
    progress, below = Progress(*columns), Text(overflow="ellipsis", no_wrap=True)

    def drawn() -> Group:
        return Group(progress, below) if below.plain else Group(progress)

    with Live(get_renderable=drawn, console=Console(stderr=True), refresh_per_second=10):
        yield Bar(progress, progress.add_task(title, total=None, text=""), below)


class ByteCounter:
    """Turns byte counts of a transfer into readings with a rate and the time that remains."""

    def __init__(
        self, display: ProgressDisplay, *, total: int | None, clock: MonotonicSeconds = time.monotonic
    ) -> None:
        self._display = display
        self._total = total
        self._clock = clock
        self._began_s = clock()

    def __call__(self, done: int) -> None:
        """Show that `done` bytes have gone or come."""
        elapsed_s = self._clock() - self._began_s
        rate = done / elapsed_s if done and elapsed_s > 0 else None
        remaining_s = (self._total - done) / rate if rate and self._total is not None else None
        self._display.show(Reading(done=done, total=self._total, rate=rate, remaining_s=remaining_s))
