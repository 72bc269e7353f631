"""The migrations make exactly the tables of the code, with their guards, on both databases."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

from adapters.errors import AlreadyRunning, SchemaOutdated, StoreUnavailable
from adapters.store.database import check_schema, held_alone, is_current, migrate, open_store
from adapters.store.plans import Plans
from schemas.guards import DDL, GUARD
from schemas.migrations import head
from schemas.migrations.run import config
from schemas.tables import TABLES


async def on(url: str, work: Callable[[sa.Connection], Any]) -> Any:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = sa.create_engine(parsed)
        try:
            with engine.connect() as connection:
                return work(connection)
        finally:
            engine.dispose()
    asynchronous = create_async_engine(parsed.set(drivername="postgresql+asyncpg"))
    try:
        async with asynchronous.connect() as opened:
            return await opened.run_sync(work)
    finally:
        await asynchronous.dispose()


async def test_the_migrated_schema_is_that_of_the_tables(database_url: str) -> None:
    def differences(connection: sa.Connection) -> Any:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, SQLModel.metadata)

    assert await on(database_url, differences) == []


async def test_the_guards_of_the_database_are_those_of_the_code(database_url: str) -> None:
    def installed(connection: sa.Connection) -> list[str]:
        if connection.dialect.name == "sqlite":
            query = "SELECT sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
        else:
            query = (
                "SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t"
                " WHERE NOT tgisinternal ORDER BY tgname"
            )
        return [row[0] for row in connection.execute(sa.text(query))]

    found = await on(database_url, installed)
    assert len(found) == 2
    if database_url.startswith("sqlite"):
        wanted = [s for s in DDL["sqlite"] if s.startswith("CREATE TRIGGER")]
        assert found == wanted
    else:
        assert all(GUARD in definition for definition in found)


async def test_migrating_again_changes_nothing(database_url: str) -> None:
    for _ in range(2):
        await migrate(database_url)
    assert await is_current(database_url)
    await check_schema(database_url)


async def test_two_processes_may_migrate_at_once(postgres_url: str) -> None:
    await on_empty(postgres_url)
    await asyncio.gather(*(migrate(postgres_url) for _ in range(3)))
    await check_schema(postgres_url)


async def on_empty(url: str) -> None:
    def drop(connection: sa.Connection) -> None:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
        connection.commit()

    await on(url, drop)


async def test_a_program_refuses_a_database_of_another_schema(sqlite_url: str) -> None:
    with sqlite3.connect(str(make_url(sqlite_url).database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.close()
    with pytest.raises(SchemaOutdated, match="limner migrate"):
        await check_schema(sqlite_url)


async def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable):
        await migrate(f"sqlite:///{tmp_path}/file/limner.sqlite")


async def test_one_process_holds_the_database_and_the_next_gets_it_after_it(
    database_url: str,
) -> None:
    async with held_alone(database_url, lambda: None):
        with pytest.raises(AlreadyRunning):
            async with held_alone(database_url, lambda: None):
                pass
    async with held_alone(database_url, lambda: None):
        pass


async def test_a_lock_that_the_server_takes_away_is_noticed(postgres_url: str) -> None:
    lost = asyncio.Event()

    def terminate(connection: sa.Connection) -> None:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                " AND pid <> pg_backend_pid()"
            )
        )

    async with held_alone(postgres_url, lost.set):
        await on(postgres_url, terminate)
        await asyncio.wait_for(lost.wait(), 5)


async def test_every_column_has_a_codec_and_a_type_on_both_databases(database_url: str) -> None:
    store = open_store(database_url)
    plans: Plans = store._plans
    for row in TABLES:
        plan = plans.by_row[row]
        assert [*plan.encoders] == plan.names
        assert len(plan.types) == len(plan.names)
    await store.close()


def test_an_unknown_kind_of_database_is_named() -> None:
    with pytest.raises(ValueError, match="mysql"):
        open_store("mysql://localhost/x")


def test_the_newest_file_is_the_newest_revision() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [head()]


async def test_an_absent_database_is_not_current(tmp_path: Path) -> None:
    assert not await is_current(f"sqlite:///{tmp_path}/none.sqlite")
    assert os.listdir(tmp_path) == []


async def test_a_database_of_a_later_release_is_left_alone(sqlite_url: str) -> None:
    with sqlite3.connect(str(make_url(sqlite_url).database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(SchemaOutdated, match="later release"):
        await migrate(sqlite_url)
