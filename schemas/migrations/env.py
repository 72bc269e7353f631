"""Alembic's entry: migrates the connection that `run.py` hands over."""

from alembic import context
from sqlmodel import SQLModel

import schemas.tables  # noqa: F401  # fills the metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=context.config.attributes["connection"].dialect.name == "sqlite",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
