"""Tables for a terminal: no word is broken, and what has no room is left out whole, the least important first."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

_GAP = "  "
_SHORTENED_MIN = 16
_BELOW = "    "


@dataclass(frozen=True)
class Column:
    """A column: its title, an item's value, and the value as people read it.

    Args:
        drop: where there is no room, columns with the highest number go first; those with 0 stay.
        shortens: its text may be cut, since nobody copies it.
        below: its text is long and has lines of its own, under the row.
    """

    title: str
    value: Callable[[Any], Any]
    text: Callable[[Any], str] = str
    right: bool = False
    drop: int = 0
    shortens: bool = False
    below: bool = False


@dataclass(frozen=True)
class Table:
    """Lines for a terminal, and the titles of the columns that found no room."""

    lines: Sequence[str]
    dropped: Sequence[str]


@dataclass
class _Laid:
    column: Column
    cells: Sequence[str]
    width: int

    @property
    def least(self) -> int:
        return min(self.width, _SHORTENED_MIN) if self.column.shortens else self.width


def laid_out(items: Sequence[Any], columns: Sequence[Column], *, width: int) -> Table:
    """`items` in lines of at most `width`, unless what may not be left out is wider. Empty columns are left out."""
    laid = [_laid(column, items) for column in columns]
    full = [each for each in laid if any(each.cells)] or laid
    below = [each for each in full if each.column.below]
    shown = [each for each in full if not each.column.below]
    dropped = _drop(shown, width)
    _shorten(shown, width)
    lines = [_line(shown, [each.column.title for each in shown]), _rule(shown)]
    for row in range(len(items)):
        lines.append(_line(shown, [each.cells[row] for each in shown]))
        for each in below:
            lines += _lines_below(each.column.title, each.cells[row], width)
    return Table(lines, [each.column.title for each in dropped])


def _laid(column: Column, items: Sequence[Any]) -> _Laid:
    values = [column.value(item) for item in items]
    cells = ["" if value is None else _printable(column.text(value)) for value in values]
    return _Laid(column, cells, max(map(_cells, (column.title, *cells))))


def _drop(shown: list[_Laid], width: int) -> list[_Laid]:
    """Takes out what has no room."""
    dropped: list[_Laid] = []
    while _width([each.least for each in shown]) > width:
        last = max(reversed(shown), key=lambda each: each.column.drop)
        if not last.column.drop:
            break
        shown.remove(last)
        dropped.insert(0, last)
    return dropped


def _shorten(shown: Sequence[_Laid], width: int) -> None:
    for each in shown:
        over = _width([other.width for other in shown]) - width
        if over > 0:
            each.width = max(each.least, each.width - over)


def _line(shown: Sequence[_Laid], texts: Sequence[str]) -> str:
    parts = []
    for each, text in zip(shown, texts, strict=True):
        cut = text if _cells(text) <= each.width else text[: each.width - 1] + "…"
        space = " " * max(0, each.width - _cells(cut))
        parts.append(space + cut if each.column.right else cut + space)
    return _GAP.join(parts).rstrip()


def _rule(shown: Sequence[_Laid]) -> str:
    return _GAP.join("─" * each.width for each in shown)


def _lines_below(title: str, text: str, width: int) -> list[str]:
    if not text:
        return []
    return textwrap.wrap(
        f"{title}: {text}",
        max(width, 20),
        initial_indent=_BELOW,
        subsequent_indent=_BELOW + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _cells(text: str) -> int:
    """How many places of a terminal `text` takes: some letters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
