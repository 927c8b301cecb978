"""Tables on a terminal: words stay whole, ids can be copied, and the least important goes first."""

from datetime import UTC, datetime, timedelta

import pytest

from replicator.cli.output import local_time, short_time, with_local_times
from replicator.cli.tables import Column, laid_out

VERSION = "019f3b2c4d5e0000a1b2c3d4e5f60718"
COLUMNS = (
    Column("object", lambda item: item["object"]),
    Column("version", lambda item: item.get("version")),
    Column("from a prefix", lambda item: item.get("selection"), drop=1, shortens=True),
    Column("size", lambda item: item.get("size"), right=True, drop=2),
    Column("created", lambda item: item.get("created"), drop=3),
    Column("reason", lambda item: item.get("reason"), below=True),
)
ITEMS = [
    {
        "object": "notes.txt",
        "version": VERSION,
        "selection": "photos/2025/summer/**, filtered by age",
        "size": "104.9 MB",
        "created": "21:47:40",
    },
    {
        "object": "a-longer-name.bin",
        "version": VERSION,
        "selection": "everything",
        "size": "1 B",
        "created": "21:47:41",
        "reason": "there is no object 'zzz' on this node, and there never was one of that name",
    },
]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_a_table_fits_and_ids_stay_whole(width: int) -> None:
    table = laid_out(ITEMS, COLUMNS, width=width)
    assert max(map(len, table.lines)) <= width
    assert sum(VERSION in line for line in table.lines) == 2
    assert "a-longer-name.bin" in "\n".join(table.lines)


@pytest.mark.parametrize(
    ("width", "dropped"),
    [
        (200, []),
        (100, []),
        (87, ["created"]),
        (77, ["size", "created"]),
        (60, ["from a prefix", "size", "created"]),
    ],
)
def test_what_matters_least_is_left_out_first_and_named(width: int, dropped: list[str]) -> None:
    assert laid_out(ITEMS, COLUMNS, width=width).dropped == dropped


def test_what_may_not_be_left_out_is_whole_where_there_is_no_room_at_all() -> None:
    assert VERSION in "\n".join(laid_out(ITEMS, COLUMNS, width=20).lines)


def test_a_reason_has_lines_of_its_own_under_its_row() -> None:
    lines = laid_out(ITEMS, COLUMNS, width=60).lines
    assert [line.strip() for line in lines[-2:]] == [
        "reason: there is no object 'zzz' on this node, and there",
        "never was one of that name",
    ]
    assert lines[-3].startswith("a-longer-name.bin")


def test_columns_with_nothing_in_them_are_left_out() -> None:
    assert laid_out([{"object": "a"}], COLUMNS, width=80).lines == ["object", "──────", "a"]


def test_letters_that_take_two_places_and_none_do_not_shift_columns() -> None:
    items = [{"object": "写真", "version": "1"}, {"object": "a\x1b[31m", "version": "2"}]
    assert laid_out(items, COLUMNS, width=80).lines[2:] == ["写真    1", "a?[31m  2"]


def test_moments_for_people_name_their_zone_unless_they_are_in_a_column() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    zone = moment.astimezone().tzname()
    assert local_time(moment).endswith(f":05 {zone}")
    assert with_local_times("not before 2026-01-02T03:04:05.678Z.") == f"not before {local_time(moment)}."
    now = datetime.now(UTC)
    assert len(short_time(now - timedelta(days=30))) == len("2026-01-02 03:04")
