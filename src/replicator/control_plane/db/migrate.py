"""Bringing a database to the newest schema, in one transaction."""

from __future__ import annotations

import os
from functools import cache

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from replicator.kernel.errors import StoreFailed

_FOLDER = os.path.join(os.path.dirname(__file__), "migrations")


def bring_up_to_date(engine: sa.Engine) -> None:
    """Run the migrations that `engine`'s database lacks.

    Raises:
        StoreFailed: a newer release has written it.
    """
    with engine.connect() as connection, connection.begin():
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
