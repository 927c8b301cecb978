"""Runs migrations on the connection that `replicator.control_plane.db.migrate` hands over."""

from alembic import context

from replicator.control_plane.db.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
