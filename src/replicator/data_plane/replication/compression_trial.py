"""Whether it pays to have a source compress what it sends. Pure.

A slow link is no proof: where the processor is what is slow, compressing makes it slower. So both ways are tried,
and the one by which chunks come quicker, counted as they are stored, is kept, until a later trial says otherwise.
Rates vary by chance too, so compressing is kept only where it also made the bytes fewer. A trial is one request, for
a large object's requests are large.
"""

from __future__ import annotations

_TRIAL_EVERY = 16
_WORTH = 1.1
_SHORTER = 7 / 8
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
        self._is_shorter = False

    def choose(self) -> bool:
        """Whether the next request is to be compressed."""
        plain = self._rates.get(False)
        if plain is None or plain >= self._below_bytes_per_s:
            return False
        pays = self._is_shorter and self._rates.get(True, 0.0) > _WORTH * plain
        is_trial = self._asked % _TRIAL_EVERY == 0
        self._asked += 1
        return pays != is_trial

    def came(self, *, compressed: bool, n_bytes: int, wire_bytes: int, seconds: float) -> None:
        """A request brought `n_bytes` of chunks, as they are stored, in `wire_bytes`."""
        if not n_bytes or seconds <= 0:
            return
        if compressed:
            self._is_shorter = wire_bytes < _SHORTER * n_bytes
        rate = n_bytes / seconds
        known = self._rates.get(compressed, rate)
        self._rates[compressed] = known + _NEWEST * (rate - known)
