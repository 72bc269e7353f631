"""Bring a database to this program's schema, and install the guards after it."""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from schemas.guards import DDL
from schemas.migrations import SERVES


def config(connection: sa.Connection | None = None) -> Config:
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent))
    found.set_main_option("path_separator", "os")
    if connection is not None:
        found.attributes["connection"] = connection
    return found


def upgrade(connection: sa.Connection) -> None:
    """Apply every migration that is missing, then the guards, in the caller's transaction."""
    command.upgrade(config(connection), "head")
    install_guards(connection)
    connection.execute(sa.text("UPDATE lineage SET serves = :serves"), {"serves": SERVES})


def install_guards(connection: sa.Connection) -> None:
    for statement in DDL[connection.dialect.name]:
        connection.execute(sa.text(statement.replace(":", r"\:")))
