"""SELECTs that are made once and run very often, with little between them and the driver.

SQLAlchemy builds them, names their columns and says how values are converted; what it does again for each execution
costs more than most of these do in the database. Only reads go this way.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

Selecting = sa.Select[Any] | sa.CompoundSelect[Any]
_Key = tuple[int, str, tuple[int, ...]]


class Rows(list[Any]):
    """Rows by name and position, all of them."""

    def one_or_none(self) -> Any:
        """The only row, or None where there is none."""
        if len(self) > 1:
            raise ValueError(f"{len(self)} rows where one was meant")
        return self[0] if self else None

    def scalar_one(self) -> Any:
        """The first value of the only row."""
        (row,) = self
        return row[0]

    def scalars(self) -> list[Any]:
        """The first value of each row."""
        return [row[0] for row in self]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement as text, for lists of certain lengths.

    Attributes:
        order: the names of its values in their order; None where the driver takes them by name.
        given: values that are the statement's own.
        row: makes a row of a driver's.
        converters: by the index of their column.
    """

    statement: Selecting
    text: str
    order: tuple[str, ...] | None
    given: Mapping[str, Any]
    row: Callable[[Sequence[Any]], Any]
    converters: Sequence[tuple[int, Callable[[Any], Any]]]


_COMPILED: dict[_Key, _Compiled] = {}


def select(connection: sa.Connection, statement: Selecting, values: Mapping[str, Any]) -> Rows:
    """What `statement` finds with `values`; a list stands for the set of its values."""
    values = {name: _padded(value) if isinstance(value, list) else value for name, value in values.items()}
    lengths = tuple(len(value) for value in values.values() if isinstance(value, list))
    key = (id(statement), connection.dialect.name, lengths)
    compiled = _COMPILED.get(key)
    if compiled is None:
        compiled = _COMPILED[key] = _compile(connection.dialect, statement, values)
    named = {**compiled.given, **_spread(values)}
    order = compiled.order
    found = fetch(connection, compiled.text, named if order is None else tuple(named[name] for name in order))
    make = compiled.row
    if not compiled.converters:
        return Rows(map(make, found))
    return Rows(make(_converted(row, compiled.converters)) for row in found)


def fetch(connection: sa.Connection, text: str, values: Any) -> Sequence[Sequence[Any]]:
    """All rows that a statement in the driver's own words gives.

    Raises:
        DBAPIError: as SQLAlchemy would.
    """
    driver = connection.connection.driver_connection
    dbapi: Any = connection.dialect.dbapi
    assert driver is not None
    try:
        cursor = driver.cursor()
        try:
            # Whoever listens to statements hears of these as well.
            for listener in connection.dispatch.before_cursor_execute:
                listener(connection, cursor, text, values, None, False)
            cursor.execute(text, values)
            rows: Sequence[Sequence[Any]] = cursor.fetchall()
        finally:
            cursor.close()
    except dbapi.Error as error:
        raise DBAPIError.instance(text, values, error, dbapi.Error, dialect=connection.dialect) from error
    return rows


def _padded(values: list[Any]) -> list[Any]:
    """With its last value again and again, for a length of few: each makes a statement of its own."""
    wanted = 1 << max(0, len(values) - 1).bit_length()
    return values + values[-1:] * (wanted - len(values))


def _spread(values: Mapping[str, Any]) -> dict[str, Any]:
    spread: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, list):
            for number, each in enumerate(value, start=1):
                spread[f"{name}_{number}"] = each
        else:
            spread[name] = value
    return spread


def _compile(dialect: sa.Dialect, statement: Selecting, values: Mapping[str, Any]) -> _Compiled:
    compiled: Any = statement.compile(dialect=dialect)
    expanded = compiled.construct_expanded_state({**compiled.params, **values})
    converters = []
    for index, column in enumerate(compiled._result_columns):  # noqa: SLF001 - nothing else tells the types
        convert = column.type.dialect_impl(dialect).result_processor(dialect, None)
        if convert is not None:
            converters.append((index, convert))
    names: Any = [column.keyname for column in compiled._result_columns]  # noqa: SLF001
    kind: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # noqa: PYI024 - its names are known here only
    return _Compiled(
        statement=statement,
        text=expanded.statement,
        order=None if expanded.positiontup is None else tuple(expanded.positiontup),
        given={name: value for name, value in compiled.params.items() if value is not None},
        row=kind._make,
        converters=converters,
    )


def _converted(row: Sequence[Any], converters: Sequence[tuple[int, Callable[[Any], Any]]]) -> list[Any]:
    values = list(row)
    for index, convert in converters:
        values[index] = convert(values[index])
    return values
