"""How large the measured stores are."""

from __future__ import annotations

from typing import NamedTuple

_MILLION = 1_000_000


class Size(NamedTuple):
    """What a store holds. Chunks beyond one for each object belong to large objects on top."""

    chunks: int
    objects: int

    def __str__(self) -> str:
        return f"{_short(self.chunks)} chunks, {_short(self.objects)} objects"


FULL = (
    Size(_MILLION, _MILLION),
    Size(10 * _MILLION, 10 * _MILLION),
    Size(50 * _MILLION, 10 * _MILLION),
)
QUICK = (Size(10_000, 10_000), Size(100_000, 50_000))


def _short(count: int) -> str:
    return f"{count / _MILLION:g} M" if count >= _MILLION else f"{count / 1000:g} k"
