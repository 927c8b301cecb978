"""Dataclasses that are made and replaced without their initializer are like those that are made with it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pytest

from replicator.control_plane.domain.replacing import made, replace


@dataclass(frozen=True)
class Point:
    """Of two fields."""

    x: int
    y: int = 0


def test_a_replaced_value_differs_where_it_was_told_to() -> None:
    first = Point(1, 2)
    second = replace(first, y=3)
    assert (first, second) == (Point(1, 2), Point(1, 3))
    assert hash(second) == hash(Point(1, 3))
    field: Any = "y"
    with pytest.raises(FrozenInstanceError):
        setattr(second, field, 4)


def test_a_field_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="Point has no fields"):
        replace(Point(1), z=1)


def test_a_made_value_is_like_any_other() -> None:
    assert made(Point, x=1, y=2) == Point(1, 2)


@pytest.mark.parametrize("values", [{"x": 1}, {"x": 1, "y": 2, "z": 3}])
def test_a_made_value_has_every_field_and_no_other(values: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="every field of"):
        made(Point, **values)


def test_a_made_value_has_its_fields_by_name() -> None:
    with pytest.raises(TypeError, match="every field of"):
        made(Point, 1, 2)
