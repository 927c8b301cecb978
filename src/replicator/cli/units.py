"""Quantities as people read and write them. Decimal units: 1 MB is 10^6 bytes, 1 MiB is 2^20."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from fractions import Fraction

from replicator.kernel.errors import InvalidRequest

_STEP = 1000
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_BYTES_OF: dict[str, int] = {"": 1, "b": 1} | {
    f"{letter}{infix}b": int(step**power)
    for power, letter in enumerate("kmgtpe", start=1)
    for infix, step in (("", _STEP), ("i", 1024))
}
_SECONDS_OF = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_QUANTITY = re.compile(r"(\d{1,20}(?:\.\d{1,20})?) ?([A-Za-z]*)", re.ASCII)
_DURATION = re.compile(r"(?:\d{1,12}(?:\.\d{1,12})? ?[a-z]+ ?)+", re.ASCII)


def bytes_text(count: float) -> str:
    """`104857600` as `104.9 MB`."""
    power = 0
    while power < len(_UNITS) - 1 and round(count, 1 if power else 0) >= _STEP:
        count /= _STEP
        power += 1
    return f"{count:.1f} {_UNITS[power]}" if power else f"{count:.0f} B"


def number_of(count: int, noun: str) -> str:
    """`1` as `1 chunk`, `2` as `2 chunks`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


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


def parse_bytes(text: str) -> int:
    """`10MiB` as 10485760; raises `InvalidRequest`."""
    found = _QUANTITY.fullmatch(text.strip())
    unit = None if found is None else _BYTES_OF.get(found[2].lower())
    if found is None or unit is None:
        raise InvalidRequest(f"'{text}' is no size: write it like 4096, 64kB, 1.5GB or 10MiB")
    return round(Fraction(found[1]) * unit)


def parse_rate(text: str) -> int:
    """`10MiB` or `10MiB/s` as 10485760 bytes a second; raises `InvalidRequest`."""
    return parse_bytes(text.strip().removesuffix("/s"))


def parse_optional_rate(text: str) -> int | None:
    """As `parse_rate`; None for `none`."""
    return None if text.strip().lower() == "none" else parse_rate(text)


def parse_duration(text: str) -> int:
    """`1d12h` as 129600 seconds; raises `InvalidRequest`."""
    written = text.strip().lower()
    parts = _QUANTITY.findall(written) if _DURATION.fullmatch(written) else []
    if not parts or any(unit not in _SECONDS_OF for _, unit in parts):
        raise InvalidRequest(f"'{text}' is no duration: write it like 90s, 30m, 12h, 7d, 2w or 1d12h")
    return round(sum(Fraction(number) * _SECONDS_OF[unit] for number, unit in parts))


def parse_moment(text: str, *, now: datetime) -> datetime:
    """`2h` as two hours after `now`, and a date and time as it is: without a zone it is local; raises `InvalidRequest`."""
    written = text.strip()
    try:
        if _DURATION.fullmatch(written.lower()):
            return now + timedelta(seconds=parse_duration(written))
        return datetime.fromisoformat(written).astimezone()
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(
            f"'{text}' is no moment: write it like 2h, 1d12h, 2026-05-31T22:00 or 2026-05-31T22:00:00Z"
        ) from error


def parse_optional_moment(text: str, *, now: datetime) -> datetime | None:
    """As `parse_moment`; None for `none`."""
    return None if text.strip().lower() == "none" else parse_moment(text, now=now)


def parse_optional_count(text: str) -> int | None:
    """`4` as 4; None for `none`; raises `InvalidRequest`."""
    written = text.strip().lower()
    if written == "none":
        return None
    if not (written.isascii() and written.isdigit()):
        raise InvalidRequest(f"'{text}' is no number: write it like 4, or none")
    return int(written[:10])
