"""An `Upkeep` without a store: it answers with set values, and remembers what it was asked for."""

from __future__ import annotations

import threading

from replicator.data_plane.upkeep import (
    Collected,
    Compacted,
    Explanation,
    Referrer,
    ScrubStatus,
    SegmentStats,
    StoreStats,
)
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Conflict, ReplicatorError
from replicator.kernel.names import DEFAULT_BUCKET, ObjectId
from replicator.kernel.version import VersionId
from replicator.testing.waiting import DEADLINE_S

STATS = StoreStats(
    segments=2,
    bytes=5000,
    live_bytes=3000,
    dead_bytes=2000,
    retiring_manifests=1,
    retiring_bytes=700,
    damaged_chunks=1,
    held_chunks=4,
    held_manifests=2,
    reclaimed_bytes=9000,
    compacted_segments=3,
    scrubbed_bytes=12_000,
)
SEGMENTS = [SegmentStats(1, 4000, 2500), SegmentStats(3, 1000, 500)]
KNOWN = Digest.of(b"known")
VERSION = VersionId(bytes(range(16)))


class FakeUpkeep:
    """See `Upkeep`.

    Attributes:
        asked: each collection, compaction and backup, as (what, with what).
        scrub_may_end: a scrub runs until this is set.
        scrub_error: raised by a scrub in place of an answer.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.scrub_may_end = threading.Event()
        self.scrub_error: ReplicatorError | None = None
        self.scrubs = 0
        self._backups: set[str] = set()

    def stats(self) -> StoreStats:
        """See `Upkeep.stats`."""
        return STATS

    def segments(self) -> list[SegmentStats]:
        """See `Upkeep.segments`."""
        return SEGMENTS

    def collect(self, *, grace_s: float | None = None, dry_run: bool = False) -> Collected:
        """See `Upkeep.collect`."""
        self.asked.append(("collect", grace_s))
        return Collected(manifests=1, dead_bytes=700, dry_run=dry_run)

    def compact(self, *, dry_run: bool = False) -> Compacted:
        """See `Upkeep.compact`."""
        self.asked.append(("compact", None))
        return Compacted(segments=1, bytes_copied=500, bytes_reclaimed=1500, dry_run=dry_run)

    def explain(self, digest: Digest, *, limit: int = 100) -> Explanation:
        """See `Upkeep.explain`; `KNOWN` is here."""
        known = digest == KNOWN
        return Explanation(
            digest=digest,
            segment=3 if known else None,
            offset=64 if known else None,
            stored_bytes=5 if known else None,
            raw_bytes=5 if known else None,
            damaged=False,
            references=2 if known else 0,
            staged=0,
            retiring=int(known),
            referrers=[Referrer(DEFAULT_BUCKET, ObjectId("a/b"), VERSION)][:limit] if known else [],
            holds=["read of 'a/b'"] if known else [],
        )

    def scrub_status(self) -> ScrubStatus:
        """See `Upkeep.scrub_status`."""
        return ScrubStatus(
            round=self.scrubs,
            segment=1,
            offset=64,
            bytes_done=1000,
            bytes_total=5000,
            damaged=0,
            began_ms=1_700_000_000_000,
            last_completed_ms=None,
        )

    def scrub_now(self) -> ScrubStatus:
        """See `Upkeep.scrub_now`."""
        if not self.scrub_may_end.wait(DEADLINE_S):
            raise TimeoutError("the test never let the scrub end")
        if self.scrub_error is not None:
            raise self.scrub_error
        self.scrubs += 1
        return self.scrub_status()

    def backup(self, name: str) -> str:
        """See `Upkeep.backup`."""
        if name in self._backups:
            raise Conflict(f"there is a backup '{name}'")
        self._backups.add(name)
        self.asked.append(("backup", name))
        return f"/backups/{name}"
