"""Bringing a database to the newest schema, in one transaction."""

from __future__ import annotations

import os
import random
import time
from functools import cache

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from replicator.control_plane.db.postgres_errors import advice_on, cause_of, is_conflict, is_lost, text_of
from replicator.kernel.errors import StoreFailed, Unavailable

_FOLDER = os.path.join(os.path.dirname(__file__), "migrations")

SERVER_VERSION_MIN = 13
START_S = 30.0
"""How long a start tries to reach a Postgres that is away, or to get its turn."""
_PAUSE_S = 0.2
# What processes that create the same table at the same time may see: the catalog has no IF NOT EXISTS.
_RACES = frozenset({"23505", "42P07", "42710", "XX000"})
_TURN = (
    "CREATE TABLE IF NOT EXISTS turn (id INTEGER PRIMARY KEY)",
    "INSERT INTO turn (id) VALUES (1) ON CONFLICT DO NOTHING",
)


def bring_up_to_date(engine: sa.Engine) -> None:
    """Run the migrations that `engine`'s database lacks.

    Raises:
        StoreFailed: a newer release has written it.
    """
    with engine.connect() as connection, connection.begin():
        _upgrade(connection)


def bring_up_to_date_in_turn(engine: sa.Engine) -> None:
    """The same on Postgres, where other processes may write or do this very thing: they wait for their turn.

    Raises:
        StoreFailed: a newer release has written it, or the server is too old or lets us not.
        Unavailable: the server cannot be reached, or the turn is not to be had.
    """
    until_s = time.monotonic() + START_S
    while True:
        try:
            _make_turn(engine)
            with engine.connect() as connection, connection.begin():
                connection.exec_driver_sql("SELECT id FROM turn WHERE id = 1 FOR UPDATE")
                _upgrade(connection)
                return
        except DBAPIError as error:
            _raise_if_final(error, late=time.monotonic() > until_s)
        time.sleep(_PAUSE_S * random.uniform(0.5, 1))  # noqa: S311 - no secret


def _make_turn(engine: sa.Engine) -> None:
    with engine.connect() as connection, connection.begin():
        release = int((connection.dialect.server_version_info or (0,))[0])
        if release < SERVER_VERSION_MIN:
            raise StoreFailed(
                f"the database server is of release {release}; {SERVER_VERSION_MIN} or newer is needed"
            )
        if not sa.inspect(connection).has_table("turn"):
            for statement in _TURN:
                connection.exec_driver_sql(statement)


def _raise_if_final(error: DBAPIError, *, late: bool) -> None:
    advice, cause = advice_on(error), cause_of(error)
    if advice is not None:
        raise StoreFailed(f"cannot use the database: {text_of(error)}; {advice}") from error
    race = cause is not None and cause.sqlstate in _RACES
    if not (race or is_lost(error) or is_conflict(error)):
        raise StoreFailed(f"cannot use the database: {text_of(error)}") from error
    if late:
        raise Unavailable(f"the database is not available: {text_of(error)}") from error


def _upgrade(connection: sa.Connection) -> None:
    present = revision_of(connection)
    if present == newest_revision():
        return
    if present is not None and present not in _known_revisions():
        raise StoreFailed(
            f"the database has schema {present}, which this release does not know; run a newer release"
        )
    config = Config()
    config.set_main_option("script_location", _FOLDER.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def revision_of(connection: sa.Connection) -> str | None:
    """The schema that the database has; None if it has none."""
    return MigrationContext.configure(connection).get_current_revision()


@cache
def newest_revision() -> str:
    """The schema of this release."""
    head = ScriptDirectory(_FOLDER).get_current_head()
    assert head is not None
    return head


@cache
def _known_revisions() -> frozenset[str]:
    return frozenset(script.revision for script in ScriptDirectory(_FOLDER).walk_revisions())
