"""An update needs no stop: programs of the versions before may go on running on the new schema."""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

from adapters.errors import SchemaOutdated
from adapters.store import picture_reads
from adapters.store.database import check_schema, is_current, migrate
from schemas.events import cloud_event
from schemas.migrations import SERVES, head
from schemas.migrations.run import config, install_guards, upgrade
from schemas.step import Writes
from schemas.tables import TABLES
from states.table import State
from tests.batches import approve, final_of
from tests.handled import link
from tests.store.test_migrations import on
from tests.world import TENANT, World, world_on

BEFORE = sorted(
    script.revision
    for script in ScriptDirectory.from_config(config()).walk_revisions()
    if SERVES <= script.revision < head()
)
Columns = dict[str, set[str]]
REMEDY = (
    "a program of {} cannot do this on the schema of {}. Make the migration so that it can (a new"
    " column is nullable or has a default, nothing that was written goes), or raise SERVES in"
    " schemas/migrations/__init__.py to the migration's number, and say in CHANGELOG.md that"
    " everything must be stopped for it."
)


async def finished(world: World, job_id: UUID) -> None:
    """Have the job painted, and its picture linked."""
    await world.deliver(job_id)
    event = cloud_event((await world.history("job", str(job_id)))[-1])
    assert event.type == "image.job.completed"
    await link(event, world.journal, world.worker.ids)


async def told(url: str) -> tuple[list[Writes], UUID]:
    """What is written for a draft, its final and the final's place; and a job that still waits."""
    written: list[Writes] = []
    async with world_on(url) as world:
        world.journal.subscribe(written.extend)
        draft = await world.submit(quality="draft", blog_id="post", role="hero")
        await finished(world, draft)
        await approve(world, draft)
        await finished(world, await final_of(world, draft))
        waiting = await world.submit(blog_id="post")
    return written, waiting


def columns(connection: sa.Connection) -> Columns:
    found = sa.inspect(connection)
    return {
        table: {column["name"] for column in found.get_columns(table)}
        for table in found.get_table_names()
    }


def make(connection: sa.Connection, revision: str) -> None:
    """Empty the database and bring it to *revision*, as the program of that revision did."""
    SQLModel.metadata.drop_all(connection)
    connection.execute(sa.text("DROP TABLE alembic_version"))
    command.upgrade(config(connection), revision)
    install_guards(connection)


def write(connection: sa.Connection, written: Sequence[Writes], known: Columns) -> None:
    """Write as a program does that knows these columns alone."""
    for one in written:
        for change, rows in ((sa.insert, one.inserts), (sa.update, one.updates)):
            for key, row in rows:
                table: sa.Table = TABLES[key.row].__table__  # type: ignore[attr-defined]  # SQLModel's
                if table.name not in known:
                    continue
                # Without the defaults that the program of today would add.
                bare = sa.table(
                    table.name,
                    *(
                        sa.column(column.name, column.type)
                        for column in table.columns
                        if column.name in known[table.name]
                        and not column.info.get("given_by_database")
                        and hasattr(row, column.name)
                    ),
                )
                statement = change(bare)
                if isinstance(statement, sa.Update):
                    keys = zip(table.primary_key, key.key, strict=True)
                    statement = statement.where(*(bare.c[c.name] == v for c, v in keys))
                values = {column.name: getattr(row, column.name) for column in bare.columns}
                connection.execute(statement.values(values))


@pytest.mark.parametrize("before", BEFORE)
async def test_a_program_of_the_version_before_writes_and_reads_as_ever(
    database_url: str, sqlite_url: str, tmp_path: Path, before: str
) -> None:
    source = sqlite_url if database_url != sqlite_url else f"sqlite:///{tmp_path}/source.sqlite"
    await migrate(source)
    written, waiting = await told(source)
    known: Columns = {}

    def then(connection: sa.Connection) -> None:
        """It wrote, and then the database was migrated under it."""
        make(connection, before)
        known.update(columns(connection))
        write(connection, written[:2], known)
        upgrade(connection)
        connection.commit()

    def now(connection: sa.Connection) -> None:
        """It goes on."""
        present = columns(connection)
        gone = {t: names - present.get(t, set()) for t, names in known.items()}
        assert not any(gone.values()), REMEDY.format(before, head()) + f" Gone: {gone}"
        try:
            write(connection, written[2:], known)
        except sa.exc.DBAPIError as exc:
            pytest.fail(REMEDY.format(before, head()) + f" {exc.orig}")
        connection.commit()

    await on(database_url, then)
    await on(database_url, now)
    async with world_on(database_url) as world:  # and the new program takes over
        (slot,) = await world.store.read(picture_reads.slots, TENANT, "post")
        final = await world.job(slot.job_id or waiting)
        assert (final.state, final.draft_job_id is not None) == (State.COMPLETED, True)
        assert (await world.job(waiting)).state is State.QUEUED
        await finished(world, waiting)
        assert (await world.job(waiting)).state is State.COMPLETED


async def says(url: str, revision: str, serves: str | None) -> None:
    def say(connection: sa.Connection) -> None:
        connection.execute(
            sa.text("UPDATE alembic_version SET version_num = :at"), {"at": revision}
        )
        connection.execute(sa.text("UPDATE lineage SET serves = :serves"), {"serves": serves})
        connection.commit()

    await on(url, say)


async def test_a_program_starts_on_a_later_schema_that_serves_it(database_url: str) -> None:
    """Or a pod of the old version that is replaced during an update would never come back."""
    await says(database_url, "9999", head())
    await check_schema(database_url)
    assert await is_current(database_url)
    async with world_on(database_url) as world:
        await world.submit()


@pytest.mark.parametrize("serves", ["9998", None])
async def test_a_program_does_not_start_on_a_later_schema_that_does_not(
    database_url: str, serves: str | None
) -> None:
    await says(database_url, "9999", serves)
    with pytest.raises(SchemaOutdated, match="run the later release"):
        await check_schema(database_url)
    assert not await is_current(database_url)


async def test_a_migration_says_whom_it_serves(database_url: str) -> None:
    await says(database_url, head(), None)
    await migrate(database_url)
    found = await on(database_url, lambda c: c.scalar(sa.text("SELECT serves FROM lineage")))
    assert found == SERVES
    assert head() >= SERVES
