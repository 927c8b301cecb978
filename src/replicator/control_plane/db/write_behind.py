"""What one unit knows of its rows and has yet to write.

Records of a unit share one of these. What was read or put by key is kept, so it is read once and a `get` after
a `put` gives what was put. What is put waits: until a query that could see it, or, where the unit succeeds, with
what the other units of its transaction leave (`shared_writes.Shared`). A unit that raises before anything of its
own went out has written nothing, and nobody has seen what it put.

Any statement through `execute` or `scalars` is safe: everything waiting goes out before it, and one that writes makes
the unit forget what it knew. `query` is for those that name the tables they read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from replicator.control_plane.db.selecting import Rows, Selecting, fetch, select
from replicator.control_plane.db.shared_writes import WAITING_MAX, Pending, Shape, Shared, Value, Values


class WriteBehind:
    """The statements of one unit on the connection of `shared`; see the module.

    `has_written` says whether anything of the unit that writes has been sent to the database.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._connection = shared.connection
        self._own = Pending()
        self._expected: defaultdict[str, dict[Hashable, Any]] = defaultdict(dict)
        self._added: set[tuple[str, int]] = set()
        self.has_written = False

    def known(self, shape: Shape[Value], key: Hashable) -> Value | None:
        """The value under `key`, where it was put or read."""
        name = shape.table.name
        shared = self._shared
        for layer in (self._own.values, shared.pending.values, self._expected, shared.stored):
            values = layer.get(name)
            if values:
                value: Value | None = values.get(key)
                if value is not None:
                    return value
        return None

    def read(self, shape: Shape[Value], key: Hashable, value: Value) -> Value:
        """`value` as it was just read from the database, kept."""
        self._shared.stored[shape.table.name][key] = value
        return value

    def expect(self, shape: Shape[Value], key: Hashable, value: Value) -> None:
        """What is under `key` will be `value` once what this unit has told `later` has gone out."""
        self._expected[shape.table.name][key] = value

    def fact(self, key: Hashable) -> Any:
        """What was noted under `key`, unless a statement has changed anything since."""
        return self._shared.facts.get(key)

    def note_fact(self, key: Hashable, fact: Any) -> None:
        """`fact` was just read, and puts do not change it, or whoever puts forgets it."""
        self._shared.facts[key] = fact

    def forget_fact(self, key: Hashable) -> None:
        """What was noted under `key` may change."""
        self._shared.facts.pop(key, None)

    def put(self, shape: Shape[Value], key: Hashable, value: Value) -> None:
        """Write `value` under `key`, later."""
        if self._own.put(shape, key, value) >= WAITING_MAX:
            self.flush()
            self.forget(shape.table)

    def number(self, table: sa.Table) -> int:
        """The number of a row to add; see `Shared.number`."""
        new = self._shared.number(table)
        self._added.add((table.name, new))
        return new

    def put_new(self, shape: Shape[Value], key: int, value: Value) -> None:
        """Add a row under a number that `number` has given, later."""
        self._own.new[shape.table.name].add(key)
        self.put(shape, key, value)

    def insert(self, table: sa.Table, values: Sequence[Values]) -> None:
        """New rows, later, in their order; each has the same columns, and no row refers to a later table."""
        for each in values:
            self._own.add("insert", table.name, tuple(each), tuple(each.values()))

    def update(self, table: sa.Table, key: tuple[Any, ...], values: Values) -> None:
        """Change the row under that primary key, later; what is told last counts."""
        self._own.changes[table.name].setdefault(key, {}).update(values)

    def later(self, table: sa.Table, statement: str, values: tuple[Any, ...]) -> None:
        """A statement on `table`, with a question mark for each of `values`, later, after updates of it."""
        self._own.add("text", table.name, (statement,), values)

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
        self._flush_for(of)
        return select(self._connection, statement, values or {})

    def query_text(self, text: str, values: tuple[Any, ...], *, of: Iterable[sa.Table]) -> list[Any]:
        """The first column of what a SELECT gives that is written with a question mark for each of `values`."""
        self._flush_for(of)
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

    def was_added(self, table: sa.Table, key: int) -> bool:
        """Whether this unit has made the row of that id."""
        return (table.name, key) in self._added

    def flush(self) -> None:
        """Write all that waits."""
        self._shared.flush_others()
        if self._own:
            own, expected = self._take()
            self._shared.pending = own
            for name, values in expected.items():
                self._shared.stored[name].update(values)
            self.has_written |= self._shared.flush()

    def leave(self) -> None:
        """The unit has succeeded: what it has put waits with what the others have left."""
        self._shared.leave(*self._take())

    def forget(self, table: sa.Table | None = None) -> None:
        """Read again what was read, of that table or of all."""
        if table is None:
            self._expected.clear()
            self._shared.forget()
        else:
            self._expected.pop(table.name, None)
            self._shared.forget(table.name)

    def waiting(self, shape: Shape[Value]) -> Iterator[tuple[Value | None, Value]]:
        """Each value that was put and has not gone out, behind the one that the database has, if it is known.

        What was put later comes later; a value may come although it was put again.
        """
        name = shape.table.name
        stored = self._shared.stored.get(name, {})
        for pending in (self._shared.pending, self._own):
            for key, value in pending.values.get(name, {}).items():
                yield stored.get(key), value

    def rows_waiting(
        self, table: sa.Table, how: str
    ) -> Iterator[tuple[tuple[str, ...], Sequence[tuple[Any, ...]]]]:
        """What `insert` (how is `insert`) or `later` (`text`) were told for `table` and has not gone out, by columns or text."""
        for pending in (self._shared.pending, self._own):
            for (name, kind, columns), rows in pending.batches.items():
                if name == table.name and kind == how:
                    yield columns, rows

    def _take(self) -> tuple[Pending, dict[str, dict[Hashable, Any]]]:
        own, self._own = self._own, Pending()
        expected, self._expected = self._expected, defaultdict(dict)
        return own, expected

    def _flush_for(self, tables: Iterable[sa.Table]) -> None:
        for table in tables:
            if self._own.concerns(table.name):
                self.flush()
                return
            if self._shared.pending.concerns(table.name):
                self._shared.flush_others()
