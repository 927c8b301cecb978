"""What the units of one transaction share: rows as they are known, and writes that have yet to go out.

Units run one after another in their transaction, so what one has read is true for the next, and what it leaves waits
with what the others left. A unit has a view of its own on this, `write_behind.WriteBehind`, and what it puts is here once
it has succeeded.

All that waits goes out together, table by table with parents first, as few statements that carry many rows. Puts
of one row are one UPDATE of the columns that differ from what was read, or one INSERT where the row is new.

New rows get their numbers here, not from the database: nobody else writes during the transaction. The newest
number that was ever given is read once, and what the database keeps of it goes forward with the rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from replicator.control_plane.db.numbers import keep_number, newest_number

WAITING_MAX = 4096
"""When so many rows of one table wait, they go out."""
KNOWN_MAX = 16_384
"""When more rows of one table are known, all of them are forgotten."""
OTHERS = "replicator-others"
"""Key of `Connection.info`: whether what is sent now was left by units before the one that runs."""

Value = TypeVar("Value")
Values = Mapping[str, Any]
Batch = tuple[str, str, tuple[str, ...]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Shape(Generic[Value]):
    """How values of a kind are rows of `table`.

    Attributes:
        key: the names of the key's columns, in the order in which keys are given.
        values: every column that a put may change; with `inserts`, every column.
        changes: those of them in which the second value differs from the first.
        inserts: a put of a row that is not there adds it.
        new: every column but the key, for rows whose number `Shared.number` gives.
    """

    table: sa.Table
    key: tuple[str, ...]
    values: Callable[[Value], dict[str, Any]]
    changes: Callable[[Value, Value], dict[str, Any]]
    inserts: bool = False
    new: Callable[[Value], dict[str, Any]] | None = None


class Pending:
    """Writes that wait.

    Attributes:
        shapes: of the tables in `values`.
        values: by table and key, what was put.
        new: by table, the keys in `values` of rows that are not there yet.
        changes: by table and key, columns that were changed by themselves.
        batches: rows by table, kind and columns, in the order in which they came.
    """

    def __init__(self) -> None:
        self.shapes: dict[str, Shape[Any]] = {}
        self.values: defaultdict[str, dict[Hashable, Any]] = defaultdict(dict)
        self.new: defaultdict[str, set[Hashable]] = defaultdict(set)
        self.changes: defaultdict[str, dict[tuple[Any, ...], dict[str, Any]]] = defaultdict(dict)
        self.batches: dict[Batch, list[tuple[Any, ...]]] = {}

    def __bool__(self) -> bool:
        return bool(self.batches or self.values or self.changes)

    def concerns(self, name: str) -> bool:
        """Whether anything waits for the table of that name."""
        return bool(
            name in self.values or name in self.changes or any(batch[0] == name for batch in self.batches)
        )

    def put(self, shape: Shape[Value], key: Hashable, value: Value) -> int:
        """`value` is to be under `key`; how many values of its table wait."""
        name = shape.table.name
        self.shapes[name] = shape
        values = self.values[name]
        values[key] = value
        return len(values)

    def add(self, how: str, name: str, columns: tuple[str, ...], row: tuple[Any, ...]) -> None:
        """One row more of a statement."""
        self.batches.setdefault((name, how, columns), []).append(row)

    def absorb(self, later: Pending) -> None:
        """What waits in `later`, which came after this, waits here."""
        self.shapes.update(later.shapes)
        for name, values in later.values.items():
            self.values[name].update(values)
        for name, keys in later.new.items():
            self.new[name] |= keys
        for name, changes in later.changes.items():
            for key, columns in changes.items():
                self.changes[name].setdefault(key, {}).update(columns)
        for batch, rows in later.batches.items():
            self.batches.setdefault(batch, []).extend(rows)


class Shared:
    """What the units of one transaction on `connection` share; see the module.

    Attributes:
        pending: what units that succeeded have left.
        stored: by table and key, rows as they are in the transaction.
        facts: what else is known, until a statement that may change any table is sent.
        has_written: whether anything was sent that writes.
        failed: what was left could not be written; which unit is to blame is not known.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.pending = Pending()
        self.stored: defaultdict[str, dict[Hashable, Any]] = defaultdict(dict)
        self.facts: dict[Hashable, Any] = {}
        self.has_written = False
        self.failed = False
        self._numbers: dict[str, int] = {}

    def number(self, table: sa.Table) -> int:
        """The number of a new row: one that no row of `table` has or had. The first is 1."""
        newest = self._numbers.get(table.name)
        if newest is None:
            newest = newest_number(self.connection, table.name)
        self._numbers[table.name] = newest + 1
        return newest + 1

    def forget(self, name: str | None = None) -> None:
        """Read again what was read, of that table or of all."""
        if name is None:
            self.stored.clear()
            self.facts.clear()
        else:
            self.stored.pop(name, None)

    def leave(self, pending: Pending, expected: Mapping[str, Mapping[Hashable, Any]]) -> None:
        """A unit has succeeded: what it has put waits here, and `expected` is so once that has gone out."""
        self.pending.absorb(pending)
        for name, values in expected.items():
            self.stored[name].update(values)
        if any(len(values) >= WAITING_MAX for values in self.pending.values.values()):
            self.flush_others()
        for name in [name for name, values in self.stored.items() if len(values) > KNOWN_MAX]:
            # A put that waits is written whole where it is not known what was there.
            del self.stored[name]

    def flush_others(self) -> None:
        """Write what earlier units have left, which is not to the account of the one that runs."""
        if not self.pending:
            return
        info = self.connection.info
        info[OTHERS] = True
        try:
            self.flush()
        except Exception:
            self.failed = True
            raise
        finally:
            info[OTHERS] = False

    def flush(self) -> bool:
        """Write all that waits; whether there was anything to write."""
        pending, self.pending = self.pending, Pending()
        numbered = list(pending.new)
        for shape in pending.shapes.values():
            self._spell_out(pending, shape)
        for name, changes in pending.changes.items():
            keys = tuple(f"={column.name}" for column in _TABLES[name][1].primary_key)
            for key, values in changes.items():
                pending.add("update", name, (*values, *keys), (*values.values(), *key))
        batches = pending.batches
        if not batches:
            return False
        self.has_written = True
        with self._together(len(batches) + len(numbered)):
            for name in numbered:
                keep_number(self.connection, name, self._numbers[name])
            for (name, how, columns), rows in sorted(batches.items(), key=lambda item: _turn(item[0])):
                self._send(name, how, columns, rows)
        return True

    def _spell_out(self, pending: Pending, shape: Shape[Any]) -> None:
        """Puts as rows of statements."""
        name = shape.table.name
        stored, new = self.stored[name], pending.new.get(name, ())
        keys = tuple(f"={column}" for column in shape.key)
        for key, value in pending.values[name].items():
            before = stored.get(key)
            stored[key] = value
            if key in new:
                assert shape.new is not None
                columns = shape.new(value)
                pending.add("insert", name, (*columns, *shape.key), (*columns.values(), key))
                continue
            columns = shape.values(value) if before is None else shape.changes(before, value)
            if before is None and shape.inserts:
                pending.add("upsert", name, tuple(columns), tuple(columns.values()))
            elif columns:
                key_values = key if isinstance(key, tuple) else (key,)
                pending.add("update", name, (*columns, *keys), (*columns.values(), *key_values))

    def _together(self, statements: int) -> AbstractContextManager[Any]:
        """Statements that follow each other without waiting for answers, where the driver can do that."""
        driver: Any = self.connection.connection.driver_connection
        pipeline = getattr(driver, "pipeline", None)
        return nullcontext() if pipeline is None or statements == 1 else pipeline()

    def _send(self, name: str, how: str, columns: tuple[str, ...], values: list[tuple[Any, ...]]) -> None:
        statement = _statement(self.connection.dialect, name, how, columns)
        if statement.converters:
            values = [_converted(row, statement.converters) for row in values]
        self.connection.exec_driver_sql(statement.text, values if len(values) > 1 else values[0])


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
    return _Statement(text, converters)


def _converters(dialect: sa.Dialect, columns: Sequence[sa.Column[Any]]) -> dict[int, Callable[[Any], Any]]:
    found: dict[int, Callable[[Any], Any]] = {}
    for index, column in enumerate(columns):
        if isinstance(column.type, sa.JSON):
            convert = column.type.dialect_impl(dialect).bind_processor(dialect)
            if convert is not None:
                found[index] = convert
    return found
