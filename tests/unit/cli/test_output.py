"""Listings: JSON is one document, a pipe gets exact values, and only a page is held at a time."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from replicator.cli.output import pages, print_listing, print_rows
from replicator.cli.tables import Column


class Item(BaseModel):
    name: str
    size: int | None = None


class ItemPage(BaseModel):
    items: list[Item]
    next_cursor: str | None = None


class Shelf:
    """A listing of 25 items, served by cursor."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    async def fetch(self, cursor: str | None, limit: int) -> ItemPage:
        self.asked.append(limit)
        start = int(cursor or 0)
        stop = min(start + limit, 25)
        names = [Item(name=f"item{number}") for number in range(start, stop)]
        return ItemPage(items=names, next_cursor=str(stop) if stop < 25 else None)


COLUMNS = (Column("name", lambda item: item.name), Column("size", lambda item: item.size))


def listed(
    capsys: pytest.CaptureFixture[str],
    *,
    json_output: bool,
    limit: int | None = None,
    cursor: str | None = None,
) -> tuple[str, str, list[int]]:
    shelf = Shelf()
    found = pages(shelf.fetch, cursor=cursor, limit=limit, page_items_max=10)
    asyncio.run(print_listing(found, key="items", columns=COLUMNS, json_output=json_output))
    output = capsys.readouterr()
    return output.out, output.err, shelf.asked


def test_all_pages_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    out, err, asked = listed(capsys, json_output=False)
    assert out.splitlines() == [f"item{number}\t-" for number in range(25)]
    assert err == ""
    assert asked == [10, 10, 10]


@pytest.mark.parametrize("limit", [1, 10, 13, 25, 100])
def test_a_limited_listing_goes_on_exactly_where_it_stopped(
    capsys: pytest.CaptureFixture[str], limit: int
) -> None:
    out, _, _ = listed(capsys, json_output=True, limit=limit)
    first = json.loads(out)
    names = [item["name"] for item in first["items"]]
    assert names == [f"item{number}" for number in range(min(limit, 25))]
    if first["next_cursor"] is not None:
        out, _, _ = listed(capsys, json_output=True, cursor=first["next_cursor"])
        names += [item["name"] for item in json.loads(out)["items"]]
    assert names == [f"item{number}" for number in range(25)]


def test_people_are_told_that_there_is_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--cursor 5" in listed(capsys, json_output=False, limit=5)[1]


def test_an_empty_listing_is_valid_json(capsys: pytest.CaptureFixture[str]) -> None:
    async def nothing() -> AsyncIterator[ItemPage]:
        yield ItemPage(items=[])

    asyncio.run(print_listing(nothing(), key="items", columns=COLUMNS, json_output=True))
    assert json.loads(capsys.readouterr().out) == {"items": [], "next_cursor": None}


def test_a_listing_that_fails_at_once_prints_no_half_document(capsys: pytest.CaptureFixture[str]) -> None:
    async def fails() -> AsyncIterator[ItemPage]:
        raise OSError("gone")
        yield

    with pytest.raises(OSError, match="gone"):
        asyncio.run(print_listing(fails(), key="items", columns=COLUMNS, json_output=True))
    assert capsys.readouterr().out == ""


def test_moments_in_a_pipe_are_rfc_3339(capsys: pytest.CaptureFixture[str]) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
    print_rows([moment], (Column("when", lambda item: item),))
    assert capsys.readouterr().out == "2026-01-02T03:04:05.678Z\n"
