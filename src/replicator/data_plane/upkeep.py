"""What keeps a store healthy, as the API and the command line ask for it, and the values that tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from replicator.kernel.digest import Digest
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionId


class SegmentStats(NamedTuple):
    """One segment; `live_bytes` are those of records that something refers to, headers included."""

    number: int
    bytes: int
    live_bytes: int


class StoreSpace(NamedTuple):
    """What of a store takes how much of the disk; see `StoreStats`.

    Attributes:
        compaction_bytes: read and copied since the process began.
    """

    segments: int
    bytes: int
    live_bytes: int
    dead_bytes: int
    reclaimed_bytes: int
    compacted_segments: int
    compaction_bytes: int


class StoreStats(NamedTuple):
    """What a store holds, in bytes of records, headers included.

    Attributes:
        dead_bytes: of records that nothing refers to: garbage, and uploads and pulls in progress.
        retiring_manifests, retiring_bytes: no version refers to them any more, and their grace has not
            passed yet; bytes of the objects they were.
        damaged_chunks: failed their last check.
        reclaimed_bytes, compacted_segments, scrubbed_bytes: since the process began.
    """

    segments: int
    bytes: int
    live_bytes: int
    dead_bytes: int
    retiring_manifests: int
    retiring_bytes: int
    damaged_chunks: int
    held_chunks: int
    held_manifests: int
    reclaimed_bytes: int
    compacted_segments: int
    scrubbed_bytes: int


class Collected(NamedTuple):
    """What a collection did, or with `dry_run` would do; bytes of records."""

    manifests: int
    dead_bytes: int
    dry_run: bool


class Compacted(NamedTuple):
    """What a compaction did, or with `dry_run` would do."""

    segments: int
    bytes_copied: int
    bytes_reclaimed: int
    dry_run: bool


class Referrer(NamedTuple):
    """A version that refers to a chunk through its manifest."""

    bucket: BucketName
    object_id: ObjectId
    version: VersionId


class Explanation(NamedTuple):
    """Why a chunk is kept.

    Attributes:
        segment, offset, stored_bytes: where its record is, None where there is none.
        referrers: at most `limit` of the versions that refer to it.
        references: how many manifests refer to it, staged and retiring ones included.
        staged, retiring: how many of these are of uploads or pulls in progress, and how many wait for their grace.
        holds: purposes of the work in progress that keeps it.
    """

    digest: Digest
    segment: int | None
    offset: int | None
    stored_bytes: int | None
    raw_bytes: int | None
    damaged: bool
    references: int
    staged: int
    retiring: int
    referrers: Sequence[Referrer]
    holds: Sequence[str]


class ScrubStatus(NamedTuple):
    """How far the scrub is. Times in milliseconds since the Unix epoch, None where it has not happened.

    Attributes:
        round: how many times the whole store has been read.
        segment, offset: where it goes on.
        bytes_done, bytes_total: of this round.
        damaged: records found damaged in this round.
        last_damaged: and in the last complete one.
    """

    round: int
    segment: int
    offset: int
    bytes_done: int
    bytes_total: int
    damaged: int
    began_ms: int | None
    last_completed_ms: int | None
    last_damaged: int | None = None


class Upkeep(Protocol):
    """Reclaiming, scrub and backup of one open store. Blocking; every method may be called from any thread.

    One collection, compaction or backup runs at a time; another waits for it.
    """

    def stats(self) -> StoreStats:
        """Counts as of now."""
        ...

    def segments(self) -> list[SegmentStats]:
        """Every segment, oldest first."""
        ...

    def collect(self, *, grace_s: float | None = None, dry_run: bool = False) -> Collected:
        """Drop the references of manifests whose grace has passed; `grace_s` in place of the setting."""
        ...

    def compact(self, *, dry_run: bool = False) -> Compacted:
        """Rewrite the emptiest segments until the dead share is within the setting; unthrottled."""
        ...

    def explain(self, digest: Digest, *, limit: int = 100) -> Explanation:
        """Why a chunk is kept; raises nothing for one that is not here."""
        ...

    def scrub_status(self) -> ScrubStatus:
        """How far the scrub is."""
        ...

    def scrub_now(self) -> ScrubStatus:
        """Read the whole store once, now, at the greatest rate allowed; returns what that came to."""
        ...

    def backup(self, name: str) -> str:
        """Make a copy of the store as of now below the backup folder; returns its path.

        Raises:
            InvalidRequest: no backup folder is set, or `name` is not a plain name.
            Conflict: there is one of that name.
        """
        ...
