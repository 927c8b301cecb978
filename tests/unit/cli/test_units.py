from datetime import UTC, datetime

import pytest

from replicator.cli.units import (
    bytes_text,
    duration_text,
    parse_bytes,
    parse_duration,
    parse_moment,
    parse_optional_count,
    parse_optional_moment,
    parse_optional_rate,
    parse_rate,
    rate_text,
)
from replicator.kernel.errors import InvalidRequest


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (104_857_600, "104.9 MB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (5 * 10**9, "5.0 GB"),
        (10**21, "1000.0 EB"),
    ],
)
def test_bytes(count: int, text: str) -> None:
    assert bytes_text(count) == text


def test_rate() -> None:
    assert rate_text(1_234_567.8) == "1.2 MB/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.7, "1 min 0 s"),
        (185, "3 min 5 s"),
        (7384, "2 h 3 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("4096", 4096),
        ("7B", 7),
        ("64kB", 64_000),
        ("10MiB", 10 * 2**20),
        ("10 mib", 10 * 2**20),
        (" 1.5GB ", 1_500_000_000),
        ("0.1GB", 100_000_000),
        ("2TiB", 2**41),
    ],
)
def test_a_size_is_understood(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text", ["", "MB", "-1", "1e3", "10M", "1,5GB", "ten", "1 2", "9" * 30, "1.GB", "\u0661MB"]
)
def test_what_may_be_no_size_is_refused_with_a_way_to_write_it(text: str) -> None:
    with pytest.raises(InvalidRequest, match="10MiB"):
        parse_bytes(text)


def test_a_rate_may_say_per_second_or_be_none() -> None:
    assert parse_rate("10MiB/s") == parse_rate("10MiB") == 10 * 2**20
    assert parse_optional_rate("None") is None
    assert parse_optional_rate("1kB/s") == 1000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("30min", 1800),
        ("1.5h", 5400),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1d12h", 129_600),
        ("1d 12h", 129_600),
        ("1 D", 86_400),
    ],
)
def test_a_span_of_time_is_understood(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "7x", "d", "-1d", "1d2", "7 days ago"])
def test_what_is_no_span_of_time_is_refused_with_a_way_to_write_it(text: str) -> None:
    with pytest.raises(InvalidRequest, match="7d"):
        parse_duration(text)


NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", datetime(2026, 5, 1, 14, tzinfo=UTC)),
        ("1d12h", datetime(2026, 5, 3, tzinfo=UTC)),
        ("2026-05-31T22:00:00Z", datetime(2026, 5, 31, 22, tzinfo=UTC)),
        (" 2026-05-31T22:00+02:00", datetime(2026, 5, 31, 20, tzinfo=UTC)),
        ("2026-05-31 22:00", datetime(2026, 5, 31, 22).astimezone()),
    ],
)
def test_a_moment_is_understood(text: str, moment: datetime) -> None:
    assert parse_moment(text, now=NOW) == moment
    assert parse_optional_moment(text, now=NOW) == moment
    assert parse_moment(text, now=NOW).tzinfo is not None


@pytest.mark.parametrize("text", ["", "soon", "22", "-2h", "2026-13-01", "99999999999w"])
def test_what_is_no_moment_is_refused_with_a_way_to_write_it(text: str) -> None:
    with pytest.raises(InvalidRequest, match="write it like 2h"):
        parse_moment(text, now=NOW)


def test_a_moment_or_a_number_may_be_none() -> None:
    assert parse_optional_moment("none", now=NOW) is None
    assert (parse_optional_count("4"), parse_optional_count(" None ")) == (4, None)
    with pytest.raises(InvalidRequest, match="no number"):
        parse_optional_count("4.5")
