"""A long queue of ready tasks, written by the database itself: one by one it would take an hour."""

from __future__ import annotations

import sqlalchemy as sa

from replicator.control_plane.db.database import SqlDatabase
from replicator.control_plane.db.door import Transaction
from replicator.control_plane.db.schema import job_objects, tasks

_COPIES_AT_ONCE = 64


async def fill_queue(database: SqlDatabase, count: int) -> None:
    """Copies of the ready tasks that there are and of their objects, later in the queue, until `count` are added."""
    there = await database._door.read(_size)  # noqa: SLF001 - what nothing but a benchmark does
    copies = -(-count // there)
    for first in range(1, copies + 1, _COPIES_AT_ONCE):
        number = min(_COPIES_AT_ONCE, copies + 1 - first)
        values = {"first": first, "last": first + number - 1, "there": there}

        def work(transaction: Transaction, values: dict[str, int] = values) -> None:
            transaction.connection.execute(_COPY_TASKS, values)
            transaction.connection.execute(_COPY_OBJECTS, values)

        if number > 0 and count > 0:
            await database._door.transact(work)  # noqa: SLF001


def _size(transaction: Transaction) -> int:
    """Of the first tasks, whose ids begin with 1."""
    return int(transaction.connection.execute(sa.text("SELECT count(*) FROM tasks")).scalar_one())


def _copy(table: sa.Table, changed: dict[str, str]) -> sa.TextClause:
    names = [column.name for column in table.columns]
    quoted = ", ".join(f'"{name}"' for name in names)
    values = ", ".join(changed.get(name, f'"{name}"') for name in names)
    key = "id" if table is tasks else "task_id"
    return sa.text(
        f"INSERT INTO {table.name} ({quoted}) "
        "WITH RECURSIVE n(i) AS (SELECT CAST(:first AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < :last) "
        f"SELECT {values} FROM {table.name} CROSS JOIN n WHERE {table.name}.{key} <= :there"
    )


_COPY_TASKS = _copy(tasks, {"id": '"id" + i * :there', "rank_ms": '"rank_ms" + i * 64000'})
_COPY_OBJECTS = _copy(
    job_objects, {"id": '"id" + i * 64', "task_id": '"task_id" + i * :there', "manifest": "NULL"}
)
