"""Dataclasses that are made and replaced very often, at a fraction of what `dataclasses` itself takes for it. Pure.

The initializer of a frozen dataclass sets each field by a call of its own. What is here does not run it, so it is for
dataclasses without slots whose initializer does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any, ParamSpec, TypeVar

Value = TypeVar("Value")
Args = ParamSpec("Args")


def replace(value: Value, /, **changes: Any) -> Value:
    """`value` with other values in the fields that `changes` names; of a dataclass without slots.

    Raises:
        TypeError: there is no such field.
    """
    before = vars(value)
    if not changes.keys() <= before.keys():
        raise TypeError(f"{type(value).__name__} has no fields {sorted(changes.keys() - before.keys())}")
    after = object.__new__(type(value))
    vars(after).update(before, **changes)
    return after


def made(kind: Callable[Args, Value], /, *args: Args.args, **values: Args.kwargs) -> Value:
    """`kind(**values)`, of a dataclass whose every field is named, by its name.

    Raises:
        TypeError: one is missing, or there is no such field.
    """
    if args or values.keys() != _names(kind):
        raise TypeError(f"every field of {kind} has to be named")
    value: Any = object.__new__(kind)  # type: ignore[arg-type]
    vars(value).update(values)
    return value  # type: ignore[no-any-return]


@cache
def _names(kind: Any) -> frozenset[str]:
    return frozenset(each.name for each in fields(kind))
