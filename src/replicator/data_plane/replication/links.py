"""What this node knows of its way to each source: whether to try it at all, and how fast it was.

A link is **closed** while it works. After some failures in a row that say the source or the way to it is in
trouble it is **open**: nobody tries it for a while, which is drawn anew each time (full jitter) and may grow
up to a bound, so that many nodes do not come back to a source at once. Then it is **half-open**: one caller
may try; success closes it, failure opens it again.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from random import Random
from typing import Literal

from replicator.data_plane.replication.compression_trial import CompressionTrial
from replicator.kernel.clock import Clock
from replicator.kernel.errors import PeerUnreachable, ReplicatorError, StoreFailed, Unavailable
from replicator.kernel.names import NodeName
from replicator.runtime.logging import get_logger

log = get_logger()

LinkState = Literal["closed", "open", "half-open"]

_LINKS_MAX = 1024
_OPEN_S = 1.0
_OPEN_S_LEAST = 0.1
_PROBE_S = 60.0
_AVERAGE_OVER_S = 10.0


def is_of_link(error: ReplicatorError) -> bool:
    """Whether an error says that a source, or the way to it, is in trouble, and not that an answer was bad."""
    return isinstance(error, Unavailable) and not isinstance(error, StoreFailed)


class Link:
    """The way to one source. Any thread may call any method.

    Attributes:
        source: the node at the other end.
    """

    def __init__(
        self,
        source: NodeName,
        clock: Clock,
        rng: Random,
        *,
        failures_max: int,
        open_s_max: float,
        compress_below_bytes_per_s: float,
    ) -> None:
        self.source = source
        self._clock = clock
        self._rng = rng
        self._failures_max = failures_max
        self._open_s_max = open_s_max
        self._lock = threading.Lock()
        self._failures = 0
        self._opened = 0
        self._compression = CompressionTrial(below_bytes_per_s=compress_below_bytes_per_s)
        self._opens_until_s = -math.inf
        self._probed_until_s = -math.inf
        self._bytes = 0.0
        self._busy_s = 0.0
        self._busy_until_s = -math.inf

    @property
    def state(self) -> LinkState:
        """Whether callers are let through: all, none, or one to try."""
        with self._lock:
            return self._state(self._clock.monotonic_s())

    @property
    def rate_bytes_per_s(self) -> float | None:
        """A moving average over the last seconds in which bytes came, of all streams; None before any came."""
        with self._lock:
            return self._bytes / self._busy_s if self._busy_s > 0 else None

    def require_closed(self) -> None:
        """Let the caller try the source; it says with `worked` or `failed` how that went.

        Raises:
            PeerUnreachable: the link is open, or another caller is trying it. `data["retry_after_s"]` says
                when to ask again.
        """
        with self._lock:
            now_s = self._clock.monotonic_s()
            state = self._state(now_s)
            if state == "closed":
                return
            wait_s = max(self._opens_until_s, self._probed_until_s) - now_s
            if wait_s > 0:
                raise PeerUnreachable(
                    f"{self.source} failed {self._failures} times in a row and is left alone for {wait_s:.1f} s",
                    node=str(self.source),
                    retry_after_s=round(wait_s, 3),
                )
            # A caller that never says how it went must not keep the others away for ever.
            self._probed_until_s = now_s + _PROBE_S

    def worked(self, n_bytes: int, seconds: float) -> None:
        """The source answered: `n_bytes` came, in the last `seconds`. Both 0 for what is not to be measured."""
        with self._lock:
            if n_bytes:
                self._measure(n_bytes, seconds)
            was_closed = not self._opened
            self._failures = self._opened = 0
            self._opens_until_s = self._probed_until_s = -math.inf
        if not was_closed:
            log.info("link.closed", source=str(self.source))

    def failed(self, error: ReplicatorError) -> None:
        """An attempt ended with `error`. Only what is of the link counts; another lets the next caller try."""
        with self._lock:
            now_s = self._clock.monotonic_s()
            before = self._state(now_s)
            self._probed_until_s = -math.inf
            if before == "open" or not is_of_link(error):
                return
            self._failures += 1
            if before == "closed" and self._failures < self._failures_max:
                return
            open_s = self._open_s()
            self._opened += 1
            self._opens_until_s = now_s + open_s
        log.warning("link.opened", source=str(self.source), seconds=round(open_s, 3), reason=error.message)

    def may_compress(self) -> bool:
        """Whether to ask the source to compress what it sends next; see `compared`."""
        with self._lock:
            return self._compression.choose()

    def compared(self, *, compressed: bool, stored_bytes: int, wire_bytes: int, seconds: float) -> None:
        """A request for chunks alone was answered in that way: `stored_bytes` of chunks, as they are kept."""
        with self._lock:
            self._compression.came(
                compressed=compressed, n_bytes=stored_bytes, wire_bytes=wire_bytes, seconds=seconds
            )

    def _state(self, now_s: float) -> LinkState:
        if not self._opened:
            return "closed"
        return "open" if now_s < self._opens_until_s else "half-open"

    def _open_s(self) -> float:
        longest = min(self._open_s_max, _OPEN_S * 2.0 ** min(self._opened, 30))
        return max(_OPEN_S_LEAST, self._rng.uniform(0, longest))

    def _measure(self, n_bytes: int, seconds: float) -> None:
        """Several streams at once share the time, so only what no other has reported yet is added."""
        now_s = self._clock.monotonic_s()
        added_s = max(0.0, min(seconds, now_s - self._busy_until_s))
        self._busy_until_s = now_s
        kept = math.exp(-added_s / _AVERAGE_OVER_S)
        self._bytes = self._bytes * kept + n_bytes
        self._busy_s = self._busy_s * kept + added_s


class Links:
    """A link for each source; of more than 1,024, the one longest not asked for is forgotten.

    Args:
        failures_max: failures in a row after which a link opens.
        open_s_max: bound on the seconds it then stays open.
        compress_below_bytes_per_s: rate of a stream from which on compressing is not tried.
    """

    def __init__(
        self,
        clock: Clock,
        rng: Random,
        *,
        failures_max: int = 5,
        open_s_max: float = 60.0,
        compress_below_bytes_per_s: float = 128 * 1024 * 1024,
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._failures_max = failures_max
        self._open_s_max = open_s_max
        self._compress_below_bytes_per_s = compress_below_bytes_per_s
        self._lock = threading.Lock()
        self._links: OrderedDict[NodeName, Link] = OrderedDict()

    def of(self, source: NodeName) -> Link:
        """The link to `source`."""
        with self._lock:
            link = self._links.get(source)
            if link is None:
                link = self._links[source] = self._new(source)
            self._links.move_to_end(source)
            while len(self._links) > _LINKS_MAX:
                self._links.popitem(last=False)
            return link

    def all(self) -> list[Link]:
        """Every link, for metrics."""
        with self._lock:
            return list(self._links.values())

    def _new(self, source: NodeName) -> Link:
        return Link(
            source,
            self._clock,
            self._rng,
            failures_max=self._failures_max,
            open_s_max=self._open_s_max,
            compress_below_bytes_per_s=self._compress_below_bytes_per_s,
        )
