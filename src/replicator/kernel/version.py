"""Version ids from a hybrid logical clock.

A version id is 16 bytes: 48 bits of wall-clock milliseconds, 16 bits of counter, 64 bits naming the node
that made it. Ids made on one node grow strictly; an id made after another was observed is greater; and two
nodes never make the same one, so every node orders the versions of an object alike. Source: Kulkarni et
al., "Logical Physical Clocks" (2014).
"""

from __future__ import annotations

import hashlib
from typing import Self

from replicator.kernel.errors import InvalidRequest

VERSION_ID_BYTES = 16
_COUNTER_BITS = 16
WALL_MS_MAX = 253_402_300_799_999
"""The end of the year 9999, the last that RFC 3339 can write."""


class VersionId(bytes):
    """16 bytes whose order is the order of versions; `str()` is lowercase hex."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        """From 16 raw bytes; any other length raises `InvalidRequest`."""
        if len(raw) != VERSION_ID_BYTES:
            raise InvalidRequest(f"a version id has {VERSION_ID_BYTES} bytes, not {len(raw)}")
        return super().__new__(cls, raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From 32 lowercase hexadecimal digits; anything else raises `InvalidRequest`."""
        if len(text) != 2 * VERSION_ID_BYTES or text.strip("0123456789abcdef"):
            raise InvalidRequest("a version id is written as 32 lowercase hexadecimal digits")
        return cls(bytes.fromhex(text))

    @property
    def wall_ms(self) -> int:
        """When it was made, by its maker's clock: milliseconds since the Unix epoch."""
        return int.from_bytes(self[:8]) >> _COUNTER_BITS

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"VersionId({self.hex()})"


class VersionClock:
    """Makes version ids for one node. Not thread-safe: one committer owns it.

    `stamp` is the clock's state, to be kept and handed in again: 64 bits, milliseconds and counter.
    """

    def __init__(self, node_name: str, stamp: int = 0) -> None:
        self._node = hashlib.sha256(node_name.encode()).digest()[:8]
        self.stamp = stamp

    def next(self, wall_ms: int) -> VersionId:
        """A version id greater than every one made or observed here, whatever `wall_ms` says."""
        stamp = max(self.stamp + 1, wall_ms << _COUNTER_BITS)
        if stamp >> _COUNTER_BITS > WALL_MS_MAX:
            raise InvalidRequest("the version clock has run out: a version from the far future was accepted")
        self.stamp = stamp
        return VersionId(stamp.to_bytes(8) + self._node)

    def observe(self, version: VersionId) -> None:
        """Never fall behind `version`, which another node made."""
        self.stamp = max(self.stamp, int.from_bytes(version[:8]))
