"""Alembic's entry: runs the migrations on the connection of `shared.database.migrate`."""

from alembic import context

from shared.database.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
