"""`limner migrate`: the only command that changes the schema, outside of the local profile."""

import typer
from sqlalchemy.engine import make_url

from adapters.store.database import migrate
from pipeline.settings import Settings


async def run_migration(settings: Settings) -> int:
    await migrate(settings.database_url)
    typer.echo(f"{make_url(settings.database_url).render_as_string()} is up to date")
    return 0
