"""The scrub: every record of the store is read from the disk within a set period, and proven.

It goes through the segments in order, at the rate that the rest of the store needs in the rest of the period, and
checks of each record that it is whole and that its bytes have the digest in its header. Where it is, is kept in
the catalog, so a restart goes on from there. What is damaged and dead is passed by. Of what is alive

- a chunk is quarantined: reads of it fail, and the next good copy that an upload or a pull brings takes its place;
- an entry whose row in the catalog is intact is written to the log again, so that a catalog rebuilt from the log
  would have it;
- where no record can be told any more, the catalog is searched for what ought to be there.

A drop that is damaged cannot be written again: a rebuilt catalog would have the version that it ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from replicator.data_plane.storage import rows
from replicator.data_plane.storage.pace import Interrupted, Pace, Sleep
from replicator.data_plane.storage.parts import StoreParts
from replicator.data_plane.storage.record import SEGMENT_HEADER_BYTES
from replicator.data_plane.storage.requests import SetRow
from replicator.data_plane.storage.rows import Place
from replicator.data_plane.storage.scrub_segment import SegmentScrub
from replicator.data_plane.storage.standing import Named
from replicator.data_plane.upkeep import ScrubStatus
from replicator.kernel.errors import ReplicatorError, StoreFailed
from replicator.runtime.logging import get_logger

_NOTE_BYTES = 64 * 1024 * 1024
_IDLE_S = 60.0

log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrubPolicy:
    """How fast: all of the store within `period_s`, at most `bytes_per_s_max`."""

    period_s: float
    bytes_per_s_max: int


class Progress(NamedTuple):
    """How far the scrub is; times in milliseconds since the Unix epoch, 0 for never.

    Attributes:
        rounds: that are complete.
        segment, offset: where this one goes on.
        bytes_done, damaged: of this one.
        damaged_before: of the last one that is complete.
    """

    rounds: int = 0
    segment: int = 0
    offset: int = 0
    bytes_done: int = 0
    damaged: int = 0
    began_ms: int = 0
    completed_ms: int = 0
    damaged_before: int = 0


class Scrubber:
    """Scrubs one open store, in a thread and when it is asked.

    Args:
        on_read: hears of bytes that were read.
        on_damage: hears of each living record that is damaged: its family in the catalog.
        on_broken: hears of an error that nobody expected; the thread has ended then.
        sleep: how a scrub that was asked for waits; None waits until the node stops.
    """

    def __init__(
        self,
        parts: StoreParts,
        *,
        policy: ScrubPolicy,
        on_read: Callable[[int], None],
        on_damage: Callable[[str], None],
        on_broken: Callable[[Exception], None],
        sleep: Sleep | None = None,
    ) -> None:
        self._parts = parts
        self._policy = policy
        self._on_read = on_read
        self._on_damage = on_damage
        self._on_broken = on_broken
        self._sleep = sleep or self._wait_for_stop
        self._turn = threading.Lock()
        self._asked = 0
        self._stopping = False
        self._wake = threading.Condition()
        self._scrubbed_bytes = 0
        row = parts.catalog.get("meta", rows.SCRUB_KEY)
        self._progress = Progress() if row is None else Progress(*rows.decode_scrub_row(row))
        self._noted = self._progress
        self._thread = threading.Thread(target=self._run, name="scrub", daemon=True)

    @property
    def scrubbed_bytes(self) -> int:
        """Since the process began."""
        return self._scrubbed_bytes

    def start(self) -> None:
        """Begin to scrub in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End, and note where; the store may be closed afterwards."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        with self._turn:
            pass

    def status(self) -> ScrubStatus:
        """How far it is."""
        now = self._progress
        return ScrubStatus(
            round=now.rounds,
            segment=now.segment,
            offset=now.offset,
            bytes_done=now.bytes_done,
            bytes_total=now.bytes_done + sum(end - start for _, start, end in self._ahead(now)),
            damaged=now.damaged,
            began_ms=now.began_ms or None,
            last_completed_ms=now.completed_ms or None,
            last_damaged=now.damaged_before if now.completed_ms else None,
        )

    def run_once(self) -> ScrubStatus:
        """Read the whole store once, now, as fast as is allowed; returns how it was.

        Raises:
            Interrupted: the node is stopping.
        """
        with self._asking():
            self._begin_round()
            pace = Pace(self._policy.bytes_per_s_max, clock=self._parts.clock, sleep=self._sleep)
            done = self._go_round(lambda: pace)
            return self.status()._replace(
                began_ms=done.began_ms,
                bytes_done=done.bytes_done,
                bytes_total=done.bytes_done,
                damaged=done.damaged,
            )

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._work()
        except StoreFailed:
            # The store has said so itself, and takes no more writes.
            return
        except Exception as error:  # noqa: BLE001  (a thread that dies unheard would let the store rot)
            self._on_broken(error)

    def _work(self) -> None:
        """One round, or the rest of one, in the background."""
        try:
            with self._turn:
                if not self._progress.began_ms:
                    self._begin_round()
                self._go_round(self._background_pace)
            self._wait(_IDLE_S)
        except StoreFailed:
            raise
        except Interrupted:
            self._let_others()
        except ReplicatorError as error:
            log.error("scrub.failed", reason=error.message, data=error.data)
            self._wait_quietly(_IDLE_S)

    def _begin_round(self) -> None:
        now_ms = self._parts.clock.wall_ms()
        before = self._progress
        self._progress = Progress(
            before.rounds,
            began_ms=now_ms,
            completed_ms=before.completed_ms,
            damaged_before=before.damaged_before,
        )

    def _go_round(self, pace_of: Callable[[], Pace]) -> Progress:
        """Read on to the end of the store; what is reached is noted however that ends. Returns how it was."""
        try:
            for number, start, end in self._ahead(self._progress):
                SegmentScrub(self, self._parts, number, pace_of()).run(start, end)
        finally:
            self._note()
        done = self._progress
        self._progress = Progress(
            done.rounds + 1, completed_ms=self._parts.clock.wall_ms(), damaged_before=done.damaged
        )
        self._note()
        log.info("scrub.completed", round=done.rounds + 1, bytes=done.bytes_done, damaged=done.damaged)
        return done

    def _ahead(self, progress: Progress) -> list[tuple[int, int, int]]:
        """(segment, from, to) of what is left of a round; what is not committed yet is for the next one."""
        ahead = []
        for number, end in sorted(self._parts.accounts.absorbed.copy().items()):
            start = progress.offset if number == progress.segment else SEGMENT_HEADER_BYTES
            if number >= progress.segment and start < end:
                ahead.append((number, start, end))
        return ahead

    def _background_pace(self) -> Pace:
        progress, policy = self._progress, self._policy
        left = sum(end - start for _, start, end in self._ahead(progress))
        left_s = policy.period_s - (self._parts.clock.wall_ms() - progress.began_ms) / 1000
        rate = max(1.0, min(left / max(1.0, left_s), policy.bytes_per_s_max))
        return Pace(rate, clock=self._parts.clock, sleep=self._wait)

    def reached(self, number: int, offset: int, length: int, *, settled: bool) -> None:
        """The round has come to `offset`, `length` bytes further; `settled` where it may go on from there."""
        now = self._progress
        self._progress = now._replace(segment=number, offset=offset, bytes_done=now.bytes_done + length)
        if settled and abs(self._progress.bytes_done - self._noted.bytes_done) >= _NOTE_BYTES:
            self._note()

    def read(self, length: int) -> None:
        """So many bytes came from the disk."""
        self._scrubbed_bytes += length
        self._on_read(length)

    def found(self, named: Named, place: Place, *, healed: bool) -> None:
        """A living record is damaged."""
        family, key = named
        self._progress = self._progress._replace(damaged=self._progress.damaged + 1)
        self._on_damage(family)
        log.error(
            "scrub.damage_found",
            family=family,
            key=key.hex(),
            segment=place.segment,
            offset=place.offset,
            healed=healed,
        )

    def _note(self) -> None:
        if self._progress != self._noted:
            self._parts.commit(SetRow(rows.SCRUB_KEY, rows.encode_scrub_row(self._progress)))
            self._noted = self._progress

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self._wake:
            self._asked += 1
            self._wake.notify_all()
        try:
            with self._turn:
                self._check_stop()
                yield
        finally:
            with self._wake:
                self._asked -= 1
                self._wake.notify_all()

    def _wait(self, seconds: float) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or self._asked, seconds)
            if self._asked:
                raise Interrupted("somebody asks for a scrub by hand")
        self._check_stop()

    def _wait_for_stop(self, seconds: float) -> None:
        self._wait_quietly(seconds)
        self._check_stop()

    def _wait_quietly(self, seconds: float) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping, seconds)

    def _let_others(self) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._stopping or not self._asked)

    def _check_stop(self) -> None:
        if self._stopping:
            raise Interrupted("this node is stopping; ask again once it is back")
