"""`limner migrate`: the only command that changes the schema, outside of the local profile."""

from sqlalchemy.engine import make_url

from adapters.store.database import migrate
from pipeline.cli.output import Output
from pipeline.settings import Settings
from schemas.migrations import head


async def run_migration(settings: Settings, *, as_json: bool) -> int:
    out = Output(as_json=as_json)
    await migrate(settings.database_url, out.note)
    shown = make_url(settings.database_url).render_as_string()
    if as_json:
        out.document({"database": shown, "revision": head()})
    else:
        out.line(f"{shown} is up to date")
    return 0
