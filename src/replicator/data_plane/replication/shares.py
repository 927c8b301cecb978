"""What each source of a pull has shown, and so what it is given. Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from replicator.kernel.digest import Digest
from replicator.kernel.errors import ReplicatorError, StoreFailed, Unavailable
from replicator.kernel.manifest import ChunkRef
from replicator.kernel.names import NodeName

KIBIBYTE = 1024
REQUEST_BYTES_MIN = 256 * KIBIBYTE
REQUEST_BYTES_MAX = 64 * KIBIBYTE * KIBIBYTE
_REQUEST_BYTES_ALONE = 2 * KIBIBYTE * KIBIBYTE
_REQUEST_BYTES_FIRST = 4 * KIBIBYTE * KIBIBYTE
_REQUEST_S = 0.25
TRIES_MAX = 3
_FAILURES_MAX = 32
_BACKOFF_S = 0.2
_BACKOFF_S_MAX = 2.0
PATIENCE_S_MAX = 5.0


class Standing(enum.Enum):
    """Whether a source is asked for chunks."""

    RESERVE = "reserve"
    """It may hold the same bytes, but nobody has asked it."""
    COMING = "coming"
    """It is being asked."""
    LIVE = "live"
    OUT = "out"


def may_pass(error: ReplicatorError) -> bool:
    """Whether asking the same source again may go better."""
    return isinstance(error, Unavailable) and not isinstance(error, StoreFailed)


def backoff_s(failures: int, jitter: float) -> float:
    """How long to wait after so many failures in a row, with full jitter.

    Args:
        jitter: random, from 0 to 1.
    """
    return jitter * min(_BACKOFF_S_MAX, _BACKOFF_S * 2.0**failures)


@dataclass(slots=True)
class Share:
    """One source.

    Attributes:
        streams: how many of them ask it.
        rate_bytes_per_s: of one stream, measured; None before any request has ended.
        lacks, damaged: what it cannot give.
        error: why it is out.
    """

    name: NodeName
    standing: Standing
    streams: int = 1
    rate_bytes_per_s: float | None = None
    lacks: set[Digest] = field(default_factory=set)
    damaged: set[Digest] = field(default_factory=set)
    error: ReplicatorError | None = None
    resumes_at_s: float = 0.0
    asked: int = 0
    _failures: int = 0
    _failures_total: int = 0
    _failed_at_s: float = -1.0
    _silent_s: float = 0.0

    @property
    def is_in(self) -> bool:
        """Whether it may still deliver."""
        return self.standing is not Standing.OUT

    @property
    def is_probed(self) -> bool:
        """Whether one request is under way that decides if a source that failed is well again."""
        return self._failures > 0 and self.asked > 0

    @property
    def total_rate_bytes_per_s(self) -> float:
        """Of all its streams; 0 before it is measured, and while it fails."""
        is_well = self.standing is Standing.LIVE and not self._failures
        return (self.rate_bytes_per_s or 0.0) * self.streams if is_well else 0.0

    def has(self, refs: Sequence[ChunkRef]) -> bool:
        """Whether it may have any of `refs`."""
        if not self.lacks and not self.damaged:
            return True
        return any(ref.digest not in self.lacks and ref.digest not in self.damaged for ref in refs)

    def request_bytes(self, queued_bytes: int, streams: int) -> int:
        """The size of its next request: a quarter of a second of work, less where little is left for all streams:
        of several sources the slow one must not hold up the finish."""
        rate = self.rate_bytes_per_s
        work = _REQUEST_BYTES_FIRST if rate is None else int(rate * _REQUEST_S)
        fair = queued_bytes // (2 * max(1, streams))
        if streams == self.streams:
            # Nobody else is held up.
            fair = max(fair, _REQUEST_BYTES_ALONE)
        return max(REQUEST_BYTES_MIN, min(work, fair, REQUEST_BYTES_MAX))

    def is_faster_than(self, other: Share) -> bool:
        """Whether it is well, and at least twice as fast."""
        return self.total_rate_bytes_per_s > 0 and (
            (self.rate_bytes_per_s or 0.0) >= 2 * (other.rate_bytes_per_s or 0.0) > 0
        )

    def holds_up(self, left_bytes: int, others_bytes_per_s: float) -> bool:
        """Whether even its least request would outlast all that is left with the others, at their rate."""
        rate = self.rate_bytes_per_s
        if rate is None or others_bytes_per_s <= 0:
            return False
        least_s = REQUEST_BYTES_MIN / max(rate, 1.0)
        return least_s > max(_REQUEST_S, left_bytes / others_bytes_per_s)

    def measure(self, n_bytes: int, seconds: float) -> None:
        """A request brought `n_bytes`."""
        rate = n_bytes / max(seconds, 1e-3)
        before = self.rate_bytes_per_s
        self.rate_bytes_per_s = rate if before is None else (before + rate) / 2

    def worked(self) -> None:
        """A request ended as it should."""
        self._failures = 0
        self._silent_s = 0.0

    def failed(
        self,
        error: ReplicatorError,
        *,
        began_s: float,
        now_s: float,
        jitter: float,
        progress: bool,
        silence_s: float,
    ) -> None:
        """A request failed. Streams that fail together with another count once.

        Args:
            progress: whether it brought something.
            silence_s: it is not asked again once requests in a row that brought nothing have taken that long.
        """
        if not self.is_in:
            return
        if not may_pass(error):
            self.leave(error)
            return
        if began_s < self._failed_at_s:
            return
        self._failed_at_s = now_s
        self._failures = 1 if progress else self._failures + 1
        self._failures_total += 1
        self._silent_s = 0.0 if progress else self._silent_s + now_s - began_s
        asked_s = error.data.get("retry_after_s", 0.0)
        is_lost = self._failures >= TRIES_MAX or self._failures_total >= _FAILURES_MAX
        is_silent = self._failures > 1 and self._silent_s >= silence_s
        if is_lost or is_silent or asked_s > PATIENCE_S_MAX:
            self.leave(error)
        else:
            self.resumes_at_s = now_s + asked_s + backoff_s(self._failures, jitter)

    def leave(self, error: ReplicatorError) -> None:
        """It is not asked any more."""
        self.standing = Standing.OUT
        self.error = error
