"""Numbers of rows, which are given by whoever writes and never twice: what the database keeps of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


def newest_number(connection: sa.Connection, name: str) -> int:
    """The newest number that a row of that table ever had; 0 if it never had any."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        row = driver.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (name,)).fetchone()
        return 0 if row is None else int(row[0])
    # Names of our own.
    text = f"SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {_sequence(connection, name)}"  # noqa: S608
    return int(driver.execute(text).fetchone()[0])


def keep_number(connection: sa.Connection, name: str, newest: int) -> None:
    """No number up to `newest` is ever given again. SQLite sees to that itself, when the rows come."""
    if connection.dialect.name != "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.execute("SELECT setval(%s, %s)", (_sequence(connection, name), newest))


def _sequence(connection: sa.Connection, name: str) -> str:
    """The sequence that Postgres would take that table's numbers from."""
    key = f"replicator-sequence-{name}"
    known: str | None = connection.info.get(key)
    if known is None:
        driver: Any = connection.connection.driver_connection
        found = driver.execute("SELECT pg_get_serial_sequence(%s, 'id')", (name,)).fetchone()
        known = connection.info[key] = str(found[0])
    return known
