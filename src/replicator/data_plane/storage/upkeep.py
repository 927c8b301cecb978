"""The upkeep of one open store: a thread that collects and compacts, and the same by hand.

One piece of work at a time has the *turn*. The thread takes it for one collection or one segment, slowly and
behind those who put and get; whoever asks for work by hand makes it let go at the next block, and what was begun
is taken up again later.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from replicator.data_plane.storage.collect import Collector
from replicator.data_plane.storage.compaction import Compactor, dead_bytes
from replicator.data_plane.storage.explain import explain
from replicator.data_plane.storage.pace import Brake, Courtesy, Interrupted, Pace
from replicator.data_plane.storage.parts import StoreParts
from replicator.data_plane.upkeep import (
    Collected,
    Compacted,
    Explanation,
    ScrubStatus,
    SegmentStats,
    StoreSpace,
    StoreStats,
)
from replicator.kernel.digest import Digest
from replicator.kernel.errors import InvalidRequest, QuotaExceeded, ReplicatorError, StoreFailed, Unavailable
from replicator.runtime.logging import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepPolicy:
    """How long garbage is kept, and how much of it.

    Attributes:
        gc_grace_s: how long nothing may refer to something before it goes.
        space_overhead_max: dead bytes as a share of the live ones from which on segments are compacted.
        compaction_bytes_per_s_max: read and written together, in the background.
        dead_bytes_min: so many are never worth compacting in the background.
        period_s: between two looks in the background.
    """

    gc_grace_s: float
    space_overhead_max: float
    compaction_bytes_per_s_max: int
    dead_bytes_min: int = 4 * 1024 * 1024
    period_s: float = 5.0


class Scrubbing(Protocol):
    """What reads the store and looks for damage."""

    @property
    def scrubbed_bytes(self) -> int:
        """Since the process began."""
        ...

    def start(self) -> None:
        """Begin to work in the background."""
        ...

    def stop(self) -> None:
        """End; the store may be closed afterwards."""
        ...

    def status(self) -> ScrubStatus:
        """How far it is."""
        ...

    def run_once(self) -> ScrubStatus:
        """Read the whole store once, now."""
        ...


class StoreUpkeep:
    """`Upkeep` of a store on disk.

    Args:
        scrubber: None where the store is not scrubbed.
        backup: makes a backup of that name; nothing is collected or compacted meanwhile. None where there is
            no folder for them.
    """

    def __init__(
        self,
        parts: StoreParts,
        *,
        policy: UpkeepPolicy,
        scrubber: Scrubbing | None = None,
        backup: Callable[[str], str] | None = None,
    ) -> None:
        self._parts = parts
        self._policy = policy
        self._scrubber = scrubber
        self._backup = backup
        self._collector = Collector(parts)
        self._compactor = Compactor(parts, space_overhead_max=policy.space_overhead_max)
        self._turn = threading.Lock()
        self._asked = 0
        self._counting = threading.Lock()
        self._stopping = threading.Event()
        self._reclaimed_bytes = 0
        self._compacted_segments = 0
        self._by_hand = Brake(self._check_stop)
        self._in_background = Brake(
            self._check_turn,
            pace=Pace(policy.compaction_bytes_per_s_max, clock=parts.clock, sleep=self._sleep),
            courtesy=Courtesy(parts, sleep=self._sleep),
        )
        self._thread: threading.Thread | None = None

    def start(self, *, on_broken: Callable[[Exception], None]) -> None:
        """Begin to work in the background, and to scrub.

        Args:
            on_broken: hears of an error that nobody expected; the thread has ended then.
        """
        self._thread = threading.Thread(target=self._run, args=(on_broken,), name="upkeep", daemon=True)
        self._thread.start()
        if self._scrubber is not None:
            self._scrubber.start()

    def stop(self) -> None:
        """End all work, by hand as well, and take no more; the store may be closed afterwards."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        if self._scrubber is not None:
            self._scrubber.stop()
        with self._turn:
            pass

    def space(self) -> StoreSpace:
        """What takes how much of the disk; cheap."""
        segments = self._compactor.segments()
        return StoreSpace(
            segments=len(segments),
            bytes=sum(each.bytes for each in segments),
            live_bytes=sum(each.live_bytes for each in segments),
            dead_bytes=sum(map(dead_bytes, segments)),
            reclaimed_bytes=self._reclaimed_bytes,
            compacted_segments=self._compacted_segments,
            compaction_bytes=self._by_hand.passed_bytes + self._in_background.passed_bytes,
        )

    def stats(self) -> StoreStats:
        """See `Upkeep.stats`; takes time for each manifest that is retiring."""
        retiring_manifests, retiring_bytes = self._collector.retiring()
        holds = self._parts.chunks.holds()
        space = self.space()
        return StoreStats(
            segments=space.segments,
            bytes=space.bytes,
            live_bytes=space.live_bytes,
            dead_bytes=space.dead_bytes,
            reclaimed_bytes=space.reclaimed_bytes,
            compacted_segments=space.compacted_segments,
            retiring_manifests=retiring_manifests,
            retiring_bytes=retiring_bytes,
            damaged_chunks=len(self._parts.chunks.damaged),
            held_chunks=sum(len(hold.chunks) for hold in holds),
            held_manifests=sum(len(hold.manifests) for hold in holds),
            scrubbed_bytes=self._scrubber.scrubbed_bytes if self._scrubber else 0,
        )

    def segments(self) -> list[SegmentStats]:
        """See `Upkeep.segments`."""
        return self._compactor.segments()

    def collect(self, *, grace_s: float | None = None, dry_run: bool = False) -> Collected:
        """See `Upkeep.collect`."""
        with self._asked_turn():
            return self._collect(
                self._policy.gc_grace_s if grace_s is None else grace_s, self._by_hand, dry_run=dry_run
            )

    def compact(self, *, dry_run: bool = False) -> Compacted:
        """See `Upkeep.compact`."""
        with self._asked_turn():
            chosen = self._compactor.plan()
            if dry_run:
                copied = sum(each.live_bytes for each in chosen)
                reclaimed = sum(each.bytes for each in chosen) - copied
                return Compacted(len(chosen), copied, reclaimed, dry_run=True)
            if not chosen and self._compactor.lacks_room():
                raise QuotaExceeded(
                    "the disk of this node has no room for what is alive in any segment worth compacting: free space"
                )
            return self._compact(chosen, self._by_hand)

    def explain(self, digest: Digest, *, limit: int = 100) -> Explanation:
        """See `Upkeep.explain`."""
        return explain(self._parts, digest, limit=limit)

    def scrub_status(self) -> ScrubStatus:
        """See `Upkeep.scrub_status`."""
        return self._require_scrubber().status()

    def scrub_now(self) -> ScrubStatus:
        """See `Upkeep.scrub_now`."""
        return self._require_scrubber().run_once()

    def backup(self, name: str) -> str:
        """See `Upkeep.backup`."""
        if self._backup is None:
            raise InvalidRequest("this node has no folder for backups: start it with --backup-dir")
        with self._asked_turn():
            return self._backup(name)

    def _require_scrubber(self) -> Scrubbing:
        if self._scrubber is None:
            raise Unavailable("this store is not scrubbed")
        return self._scrubber

    def _collect(self, grace_s: float, brake: Brake, *, dry_run: bool = False) -> Collected:
        collected = self._collector.collect(grace_s=grace_s, dry_run=dry_run, brake=brake)
        if collected.manifests and not dry_run:
            log.info("store.collected", manifests=collected.manifests, dead_bytes=collected.dead_bytes)
        return collected

    def _compact(self, chosen: Sequence[SegmentStats], brake: Brake) -> Compacted:
        self._compactor.begin(chosen)
        segments = copied = reclaimed = 0
        for each in chosen:
            keep_orphans = self._parts.segments.modified_ms(each.number) > self._grown_before_ms()
            done = self._compactor.compact(each.number, keep_orphans=keep_orphans, brake=brake)
            copied += done.bytes_copied
            reclaimed += done.bytes_reclaimed
            self._reclaimed_bytes += done.bytes_reclaimed - done.bytes_copied
            if done.bytes_reclaimed:
                segments += 1
                self._compacted_segments += 1
                log.info("segment.compacted", segment=each.number, bytes=each.bytes, copied=done.bytes_copied)
        return Compacted(segments, copied, reclaimed - copied, dry_run=False)

    def _grown_before_ms(self) -> int:
        return self._parts.clock.wall_ms() - round(self._policy.gc_grace_s * 1000)

    def _run(self, on_broken: Callable[[Exception], None]) -> None:
        try:
            while not self._stopping.wait(self._policy.period_s):
                self._work()
        except StoreFailed:
            # The store has said so itself, and takes no more writes.
            return
        except Exception as error:  # noqa: BLE001  (a thread that dies unheard would let the disk fill)
            on_broken(error)

    def _work(self) -> None:
        try:
            with self._turn:
                self._collect(self._policy.gc_grace_s, self._in_background)
            last = self._parts.segments.active
            while self._compact_one(last):
                pass
        except StoreFailed:
            raise
        except Interrupted:
            return
        except ReplicatorError as error:
            log.error("upkeep.failed", reason=error.message, data=error.data)

    def _compact_one(self, last: int) -> bool:
        """Compact the segment, up to number `last`, that is worth it most; False where none is."""
        with self._turn:
            chosen = self._compactor.plan(
                grown_before_ms=self._grown_before_ms(), dead_bytes_min=self._policy.dead_bytes_min
            )
            chosen = [each for each in chosen if each.number <= last]
            if not chosen:
                return False
            self._compact(chosen[:1], self._in_background)
            return True

    @contextmanager
    def _asked_turn(self) -> Iterator[None]:
        self._count_asked(1)
        try:
            with self._turn:
                self._check_stop()
                yield
        finally:
            self._count_asked(-1)

    def _count_asked(self, change: int) -> None:
        with self._counting:
            self._asked += change

    def _check_stop(self) -> None:
        if self._stopping.is_set():
            raise Interrupted("this node is stopping; ask again once it is back")

    def _check_turn(self) -> None:
        self._check_stop()
        if self._asked:
            raise Interrupted("somebody asks for work by hand; this goes on later")

    def _sleep(self, seconds: float) -> None:
        self._stopping.wait(seconds)
        self._check_turn()
