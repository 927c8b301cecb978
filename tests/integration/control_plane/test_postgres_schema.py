"""Migrations build the same tables on Postgres as on SQLite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from replicator.control_plane.db.migrate import bring_up_to_date_in_turn, newest_revision, revision_of
from replicator.control_plane.db.postgres import open_engine, postgres_url
from replicator.control_plane.db.schema import metadata


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    url = postgres_url(database_url)
    assert url is not None
    engine = open_engine(url, idle_ms=60_000, isolation_level="READ COMMITTED")
    yield engine
    engine.dispose()


def test_migrations_build_exactly_the_tables_of_the_code(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _: (kind, name) != ("table", "turn")}
        )
        assert compare_metadata(context, metadata) == []
        assert revision_of(connection) == newest_revision()


def test_migrating_again_changes_nothing(engine: sa.Engine) -> None:
    bring_up_to_date_in_turn(engine)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT id FROM turn").scalars().all() == [1]
        assert len(connection.exec_driver_sql("SELECT id FROM control_plane").all()) == 1


def test_text_that_is_ordered_is_ordered_by_its_bytes(engine: sa.Engine) -> None:
    """Whatever the database was made with."""
    query = sa.text(
        "SELECT c.relname || '.' || a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "JOIN pg_collation l ON l.oid = a.attcollation JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'public' AND c.relkind = 'r' AND l.collname <> 'C' AND a.attnum > 0"
    )
    with engine.connect() as connection:
        others = set(connection.scalars(query))
    assert others <= {"control_plane.id", "alembic_version.version_num"}
