"""Whether it pays to have a source compress what it sends. Pure.

A slow link is no proof: where the processor is what is slow, compressing makes it slower. So both ways are tried,
and the one by which chunks come quicker, counted as they are stored, is kept, until a later trial says otherwise.
"""

from __future__ import annotations

_TRIAL_EVERY = 16
_WORTH = 1.1
_NEWEST = 0.3


class CompressionTrial:
    """Of one link. Callers see to it that one thread at a time uses it.

    Args:
        below_bytes_per_s: where chunks come faster than that as they are, nothing is tried.
    """

    def __init__(self, *, below_bytes_per_s: float) -> None:
        self._below_bytes_per_s = below_bytes_per_s
        self._rates: dict[bool, float] = {}
        self._asked = 0

    def choose(self) -> bool:
        """Whether the next request is to be compressed."""
        plain = self._rates.get(False)
        if plain is None or plain >= self._below_bytes_per_s:
            return False
        compressed = self._rates.get(True)
        if compressed is None:
            return True
        pays = compressed > _WORTH * plain
        self._asked += 1
        return pays if self._asked % _TRIAL_EVERY else not pays

    def came(self, *, compressed: bool, n_bytes: int, seconds: float) -> None:
        """A request brought `n_bytes` of chunks, as they are stored."""
        if not n_bytes or seconds <= 0:
            return
        rate = n_bytes / seconds
        known = self._rates.get(compressed, rate)
        self._rates[compressed] = known + _NEWEST * (rate - known)
