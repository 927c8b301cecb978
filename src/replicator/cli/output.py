"""What commands print on standard output: JSON documents, tables on a terminal, tab-separated rows in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from pydantic import BaseModel

Item = TypeVar("Item")


class Page(Protocol):
    """One page of a listing."""

    next_cursor: str | None


SomePage = TypeVar("SomePage", bound=Page)


class Column(NamedTuple):
    """A column: its title, an item's value, and the value as people read it."""

    title: str
    value: Callable[[Any], Any]
    text: Callable[[Any], str] = str
    right: bool = False


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
    cursor = None
    async for page in found:
        print_rows(getattr(page, key), columns)
        cursor = page.next_cursor
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


def print_rows(items: Sequence[Any], columns: Sequence[Column]) -> None:
    """A table on a terminal; elsewhere a line an item, exact values separated by tabs, without titles."""
    if not sys.stdout.isatty():
        for item in items:
            print(*(_exact(column.value(item)) for column in columns), sep="\t")
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for item in items:
        values = [(column, column.value(item)) for column in columns]
        table.add_row(*(Text("" if value is None else column.text(value)) for column, value in values))
    Console().print(table)


def local_time(moment: datetime) -> str:
    """A moment for people: this machine's time zone, to the second."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _exact(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value)
