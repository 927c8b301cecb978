"""What commands print on standard output: JSON documents, tables on a terminal, tab-separated rows in a pipe."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from replicator.cli.tables import Column, laid_out

if TYPE_CHECKING:
    from pydantic import BaseModel

Item = TypeVar("Item")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z")


class Page(Protocol):
    """One page of a listing."""

    next_cursor: str | None


SomePage = TypeVar("SomePage", bound=Page)


def print_json(model: BaseModel) -> None:
    """`model` as one JSON document."""
    print(model.model_dump_json(by_alias=True, indent=2))


def print_json_line(model: BaseModel) -> None:
    """`model` as one line of JSON, at once: what follows may take its time."""
    print(model.model_dump_json(by_alias=True), flush=True)


async def pages(
    fetch: Callable[[str | None, int], Awaitable[SomePage]],
    *,
    cursor: str | None = None,
    limit: int | None = None,
    page_items_max: int,
) -> AsyncIterator[SomePage]:
    """Pages from `fetch(cursor, limit)` until the listing, or `limit` items of it, have come.

    Each page is asked for no more items than are still wanted, so its cursor goes on exactly after them.
    """
    wanted = limit
    while wanted is None or wanted > 0:
        asked = page_items_max if wanted is None else min(wanted, page_items_max)
        page = await fetch(cursor, asked)
        yield page
        if page.next_cursor is None:
            return
        cursor = page.next_cursor
        wanted = None if wanted is None else wanted - asked


async def print_listing(
    found: AsyncIterator[Any], *, key: str, columns: Sequence[Column], json_output: bool
) -> None:
    """Print pages as they come, whose items are in the attribute `key`; only one is held in memory."""
    if json_output:
        await _print_json_listing(found, key)
        return
    cursor, items, dropped = None, 0, set[str]()
    async for page in found:
        dropped |= set(print_rows(getattr(page, key), columns))
        items += len(getattr(page, key))
        cursor = page.next_cursor
    say_if_empty(items, key.replace("_", " "))
    if dropped:
        titles = ", ".join(column.title for column in columns if column.title in dropped)
        print(f"no room for: {titles}; a wider terminal or --json shows them", file=sys.stderr)
    if cursor is not None:
        print(f"there are more: add --cursor {cursor}", file=sys.stderr)


async def _print_json_listing(found: AsyncIterator[Any], key: str) -> None:
    cursor, before = None, f'{{"{key}": ['
    async for page in found:
        for item in getattr(page, key):
            print(f"{before}\n  {item.model_dump_json(by_alias=True)}", end="")
            before = ","
        cursor = page.next_cursor
    opening = "" if before == "," else before
    print(f'{opening}\n], "next_cursor": {json.dumps(cursor)}}}')


def print_rows(items: Sequence[Any], columns: Sequence[Column]) -> Sequence[str]:
    """A table on a terminal; elsewhere a line an item, exact values separated by tabs, without titles.

    Returns the titles of the columns for which the terminal had no room.
    """
    if not sys.stdout.isatty():
        for item in items:
            print(*(_exact(column.value(item)) for column in columns), sep="\t")
        return []
    if not items:
        return []
    table = laid_out(items, columns, width=shutil.get_terminal_size().columns)
    print("\n".join(table.lines))
    return table.dropped


def say_if_empty(items: int, what: str) -> None:
    """Tell people that there are none; a pipe has nothing to say."""
    if not items and sys.stdout.isatty():
        print(f"no {what}")


def local_time(moment: datetime) -> str:
    """A moment for people: in this machine's time zone, which is named, to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def short_time(moment: datetime) -> str:
    """The same for a column: without the date today, and without the seconds on other days."""
    local = moment.astimezone()
    today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def with_local_times(text: str) -> str:
    """`text` of a server, whose moments are UTC, with those as `local_time` writes them."""
    return _MOMENT.sub(lambda found: local_time(datetime.fromisoformat(found[0])), text)


def _exact(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)
