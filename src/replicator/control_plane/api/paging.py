"""How much of a list comes at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

Cursor = Annotated[
    str | None, Query(description="The `next_cursor` of the page before; opaque.", max_length=1000)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paging:
    """Items in a page: asked for or not, and at most."""

    items_default: int
    items_max: int

    def limit(self, wanted: int | None) -> int:
        """How many to give; asking for more than the maximum gives the maximum."""
        return min(wanted or self.items_default, self.items_max)
