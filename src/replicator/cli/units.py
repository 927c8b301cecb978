"""Quantities as people read them. Decimal units: 1 MB is 10^6 bytes."""

from __future__ import annotations

_STEP = 1000
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def bytes_text(count: float) -> str:
    """`104857600` as `104.9 MB`."""
    power = 0
    while power < len(_UNITS) - 1 and round(count, 1 if power else 0) >= _STEP:
        count /= _STEP
        power += 1
    return f"{count:.1f} {_UNITS[power]}" if power else f"{count:.0f} B"


def rate_text(bytes_per_second: float) -> str:
    """`104857600` as `104.9 MB/s`."""
    return f"{bytes_text(bytes_per_second)}/s"


def duration_text(seconds: float) -> str:
    """`185` as `3 min 5 s`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
