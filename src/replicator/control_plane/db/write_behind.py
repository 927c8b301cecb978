"""What one unit knows of its rows and has yet to write.

Records of a unit share one of these. What was read or put by key is kept, so it is read once and a `get` after
a `put` gives what was put. Puts of one row are one UPDATE, of the columns that differ from what was read, and all
that is waiting goes out together, table by table with parents first, as few statements that carry many rows:
before a query that could see it, and at the end of the unit by `flush`. A unit that raises before anything went
out has written nothing.

Any statement through `execute` or `scalars` is safe: everything waiting goes out before it, and one that writes makes
the unit forget what it knew. `query` is for those that name the tables they read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from replicator.control_plane.db.selecting import Rows, Selecting, fetch, select

WAITING_MAX = 4096
"""More rows of one table do not wait: they go out, and none of that table is known any more."""

Value = TypeVar("Value")
Values = Mapping[str, Any]


@dataclass(frozen=True, eq=False, kw_only=True)
class Shape(Generic[Value]):
    """How values of a kind are rows of `table`.

    Attributes:
        key: the names of the key's columns, in the order in which keys are given.
        values: every column that a put may change; with `inserts`, every column.
        changes: those of them in which the second value differs from the first.
        inserts: a put of a row that is not there adds it.
    """

    table: sa.Table
    key: tuple[str, ...]
    values: Callable[[Value], dict[str, Any]]
    changes: Callable[[Value, Value], dict[str, Any]]
    inserts: bool = False


class WriteBehind:
    """The statements of one unit on one connection; see the module.

    `has_written` says whether anything that writes has been sent to the database.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._stored: defaultdict[str, dict[Hashable, Any]] = defaultdict(dict)
        self._waiting: defaultdict[str, dict[Hashable, Any]] = defaultdict(dict)
        self._shapes: dict[str, Shape[Any]] = {}
        self._changes: defaultdict[str, dict[tuple[Any, ...], dict[str, Any]]] = defaultdict(dict)
        self._batches: dict[tuple[str, str, tuple[str, ...]], list[tuple[Any, ...]]] = {}
        self._added: defaultdict[str, set[int]] = defaultdict(set)
        self.has_written = False

    def known(self, shape: Shape[Value], key: Hashable) -> Value | None:
        """The value under `key`, where it was put or read."""
        name = shape.table.name
        waiting = self._waiting.get(name)
        value: Value | None = waiting.get(key) if waiting else None
        return self._stored[name].get(key) if value is None else value

    def read(self, shape: Shape[Value], key: Hashable, value: Value) -> Value:
        """`value` as it was just read from the database, kept."""
        self._stored[shape.table.name][key] = value
        return value

    def put(self, shape: Shape[Value], key: Hashable, value: Value) -> None:
        """Write `value` under `key`, later."""
        name = shape.table.name
        self._shapes[name] = shape
        waiting = self._waiting[name]
        waiting[key] = value
        if len(waiting) >= WAITING_MAX:
            self.flush()
            self._stored[name].clear()

    def insert(self, table: sa.Table, values: Sequence[Values]) -> None:
        """New rows, later, in their order; each has the same columns, and no row refers to a later table."""
        for each in values:
            self._add("insert", table, tuple(each), tuple(each.values()))

    def update(self, table: sa.Table, key: tuple[Any, ...], values: Values) -> None:
        """Change the row under that primary key, later; what is told last counts."""
        self._changes[table.name].setdefault(key, {}).update(values)

    def later(self, table: sa.Table, statement: str, values: tuple[Any, ...]) -> None:
        """A statement on `table`, with a question mark for each of `values`, later, after updates of it."""
        self._add("text", table, (statement,), values)

    def execute(self, statement: sa.Executable, values: Any = None) -> sa.CursorResult[*tuple[Any, ...]]:
        """The result of any statement. All that waits goes out first."""
        self.flush()
        if not getattr(statement, "is_select", False):
            self.forget()
            self.has_written = True
        return self._connection.execute(statement, values)

    def scalars(self, statement: sa.Executable, values: Any = None) -> sa.ScalarResult[Any]:
        """The first column of what `execute` gives."""
        return self.execute(statement, values).scalars()

    def query(
        self, statement: Selecting, values: Mapping[str, Any] | None = None, *, of: Iterable[sa.Table]
    ) -> Rows:
        """The result of a SELECT that reads no tables but these. What waits goes out if it is theirs.

        Args:
            statement: kept for ever as text, so one of those that are made once.
        """
        if any(self._waits(table.name) for table in of):
            self.flush()
        return select(self._connection, statement, values or {})

    def query_text(self, text: str, values: tuple[Any, ...], *, of: Iterable[sa.Table]) -> list[Any]:
        """The first column of what a SELECT gives that is written with a question mark for each of `values`."""
        if any(self._waits(table.name) for table in of):
            self.flush()
        mark = "?" if self._connection.dialect.paramstyle == "qmark" else "%s"
        return [row[0] for row in fetch(self._connection, text.replace("?", mark), values)]

    def change(
        self, statement: sa.Executable, values: Any = None, *, of: sa.Table
    ) -> sa.CursorResult[*tuple[Any, ...]]:
        """The result of a statement that changes rows of that table only."""
        self.flush()
        self.forget(of)
        self.has_written = True
        return self._connection.execute(statement, values)

    def add(self, table: sa.Table, values: Values) -> int:
        """The id that a new row gets, at once. Its parents are in the database."""
        self.has_written = True
        statement = _statement(self._connection.dialect, table.name, "add", tuple(values))
        row = _converted(tuple(values.values()), statement.converters)
        new: int = self._connection.exec_driver_sql(statement.text, row).scalar_one()
        self._added[table.name].add(new)
        return new

    def was_added(self, table: sa.Table, key: int) -> bool:
        """Whether this unit has made the row of that id."""
        return key in self._added[table.name]

    def flush(self) -> None:
        """Write all that waits."""
        for name, shape in self._shapes.items():
            self._flush_values(shape, self._waiting[name])
        for name, changes in self._changes.items():
            keys = tuple(f"={column.name}" for column in _TABLES[name][1].primary_key)
            for key, values in changes.items():
                self._add("update", _TABLES[name][1], (*values, *keys), (*values.values(), *key))
            changes.clear()
        if not self._batches:
            return
        batches, self._batches = self._batches, {}
        self.has_written = True
        with self._together(len(batches)):
            for (name, how, columns), rows in sorted(batches.items(), key=lambda item: _turn(item[0])):
                self._send(name, how, columns, rows)

    def forget(self, table: sa.Table | None = None) -> None:
        """Read again what was read, of that table or of all."""
        if table is None:
            self._stored.clear()
        else:
            self._stored[table.name].clear()

    def waiting(self, shape: Shape[Value]) -> Iterator[tuple[Value | None, Value]]:
        """Each value that was put and has not gone out, behind the one that was read before it, if any was."""
        name = shape.table.name
        stored = self._stored[name]
        for key, value in self._waiting[name].items():
            yield stored.get(key), value

    def has_inserts(self, table: sa.Table) -> bool:
        """Whether new rows of that table wait."""
        return any(name == table.name and how == "insert" for name, how, _ in self._batches)

    def _together(self, statements: int) -> AbstractContextManager[Any]:
        """Statements that follow each other without waiting for answers, where the driver can do that."""
        driver: Any = self._connection.connection.driver_connection
        pipeline = getattr(driver, "pipeline", None)
        return nullcontext() if pipeline is None or statements == 1 else pipeline()

    def _waits(self, name: str) -> bool:
        if self._waiting.get(name) or self._changes.get(name):
            return True
        return any(batch[0] == name for batch in self._batches)

    def _add(self, how: str, table: sa.Table, columns: tuple[str, ...], row: tuple[Any, ...]) -> None:
        self._batches.setdefault((table.name, how, columns), []).append(row)

    def _flush_values(self, shape: Shape[Any], waiting: dict[Hashable, Any]) -> None:
        stored = self._stored[shape.table.name]
        for key, value in waiting.items():
            keys = key if isinstance(key, tuple) else (key,)
            before = stored.get(key)
            if before is not None:
                changed = shape.changes(before, value)
                if changed:
                    columns = (*changed, *(f"={name}" for name in shape.key))
                    self._add("update", shape.table, columns, (*changed.values(), *keys))
            else:
                changed = shape.values(value)
                if shape.inserts:
                    self._add("upsert", shape.table, tuple(changed), tuple(changed.values()))
                else:
                    columns = (*changed, *(f"={name}" for name in shape.key))
                    self._add("update", shape.table, columns, (*changed.values(), *keys))
            stored[key] = value
        waiting.clear()

    def _send(self, name: str, how: str, columns: tuple[str, ...], values: list[tuple[Any, ...]]) -> None:
        statement = _statement(self._connection.dialect, name, how, columns)
        if statement.converters:
            values = [_converted(row, statement.converters) for row in values]
        self._connection.exec_driver_sql(statement.text, values if len(values) > 1 else values[0])


@dataclass(frozen=True, slots=True)
class _Statement:
    """As a driver takes it; `converters` by the index of their value."""

    text: str
    converters: Mapping[int, Callable[[Any], Any]]


_TABLES: dict[str, tuple[int, sa.Table]] = {}
_STATEMENTS: dict[tuple[str, str, str, tuple[str, ...]], _Statement] = {}
_HOW = {"upsert": 0, "insert": 1, "update": 2, "text": 3}


def register(*tables: sa.Table) -> None:
    """The tables that rows wait for, parents first."""
    for table in tables:
        _TABLES[table.name] = (len(_TABLES), table)


def _turn(batch: tuple[str, str, tuple[str, ...]]) -> tuple[int, int]:
    name, how, _ = batch
    return _TABLES[name][0], _HOW[how]


def _converted(row: tuple[Any, ...], converters: Mapping[int, Callable[[Any], Any]]) -> tuple[Any, ...]:
    values = list(row)
    for index, convert in converters.items():
        values[index] = convert(values[index])
    return tuple(values)


def _statement(dialect: sa.Dialect, name: str, how: str, columns: tuple[str, ...]) -> _Statement:
    known = _STATEMENTS.get((dialect.name, name, how, columns))
    if known is None:
        known = _STATEMENTS[dialect.name, name, how, columns] = _built(dialect, name, how, columns)
    return known


def _built(dialect: sa.Dialect, name: str, how: str, columns: tuple[str, ...]) -> _Statement:
    mark = "?" if dialect.paramstyle == "qmark" else "%s"
    if how == "text":
        return _Statement(columns[0].replace("?", mark), {})
    table = _TABLES[name][1]
    quote = dialect.identifier_preparer.quote
    converters = _converters(dialect, [table.c[column.removeprefix("=")] for column in columns])
    if how == "update":
        changed = ", ".join(f"{quote(column)} = {mark}" for column in columns if column[0] != "=")
        key = " AND ".join(f"{quote(column[1:])} = {mark}" for column in columns if column[0] == "=")
        # Names of our own tables and columns.
        return _Statement(f"UPDATE {name} SET {changed} WHERE {key}", converters)  # noqa: S608
    named = ", ".join(map(quote, columns))
    text = f"INSERT INTO {name} ({named}) VALUES ({', '.join([mark] * len(columns))})"  # noqa: S608
    if how == "upsert":
        keys = [column.name for column in table.primary_key]
        rest = ", ".join(
            f"{quote(column)} = excluded.{quote(column)}" for column in columns if column not in keys
        )
        text += f" ON CONFLICT ({', '.join(map(quote, keys))}) DO UPDATE SET {rest}"
    if how == "add":
        text += " RETURNING id"
    return _Statement(text, converters)


def _converters(dialect: sa.Dialect, columns: Sequence[sa.Column[Any]]) -> dict[int, Callable[[Any], Any]]:
    found: dict[int, Callable[[Any], Any]] = {}
    for index, column in enumerate(columns):
        if isinstance(column.type, sa.JSON):
            convert = column.type.dialect_impl(dialect).bind_processor(dialect)
            if convert is not None:
                found[index] = convert
    return found
