"""Bring a database to this program's schema, and install the guards after it."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from schemas.guards import DDL


def config(connection: sa.Connection | None = None) -> Config:
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent))
    found.set_main_option("path_separator", "os")
    if connection is not None:
        found.attributes["connection"] = connection
    return found


def head() -> str:
    """The revision that this program's code was written for."""
    revision = ScriptDirectory.from_config(config()).get_current_head()
    assert revision is not None
    return revision


def current(connection: sa.Connection) -> str | None:
    """The revision that the database is at; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(connection: sa.Connection) -> None:
    """Apply every migration that is missing, then the guards, in the caller's transaction."""
    command.upgrade(config(connection), "head")
    install_guards(connection)


def install_guards(connection: sa.Connection) -> None:
    for statement in DDL[connection.dialect.name]:
        connection.execute(sa.text(statement.replace(":", r"\:")))
