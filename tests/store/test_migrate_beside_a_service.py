"""A migration beside a running service: one at a time, out of the way, all or nothing."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from adapters.errors import MigrationBlocked, SchemaOutdated, StoreUnavailable
from adapters.store.database import check_schema, migrate
from adapters.store.migration import Patience
from schemas.migrations import head

SOON = Patience(lock_seconds=0.2, pause_seconds=0.01)
AT_ONCE = Patience(lock_seconds=0.05, pause_seconds=0.01, total_seconds=0)


@asynccontextmanager
async def connected(url: str, name: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, server_settings={"application_name": name})
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def file_of(url: str) -> Iterator[sqlite3.Connection]:
    path = make_url(url).database
    with closing(sqlite3.connect(str(path), timeout=5, isolation_level=None)) as connection:
        yield connection


async def test_it_says_whom_it_waits_for_and_lets_the_others_pass(postgres_url: str) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    async with connected(postgres_url, "a report") as one, connected(postgres_url, "") as other:
        transaction = one.transaction()
        await transaction.start()
        await one.execute("LOCK TABLE jobs IN ROW EXCLUSIVE MODE")
        migration = asyncio.create_task(migrate(postgres_url, told.put_nowait, SOON))
        said = await asyncio.wait_for(told.get(), 10)
        assert said.startswith("waiting: server process")
        assert "(a report, idle in transaction) has held jobs for" in said
        for _ in range(3):  # each queues behind the migration for no longer than one try lasts
            async with asyncio.timeout(10), other.transaction():
                await other.execute("LOCK TABLE jobs IN ROW EXCLUSIVE MODE")
        assert not migration.done()
        await transaction.rollback()
        await asyncio.wait_for(migration, 10)
    await check_schema(postgres_url)


async def test_it_gives_up_when_the_way_is_never_free(database_url: str) -> None:
    if database_url.startswith("sqlite"):
        with file_of(database_url) as writer:
            writer.execute("BEGIN IMMEDIATE")
            with pytest.raises(MigrationBlocked, match=r"another program writes.*Nothing was chan"):
                await migrate(database_url, patience=AT_ONCE)
        return
    async with connected(database_url, "w") as writer, writer.transaction():
        await writer.execute("LOCK TABLE jobs IN ROW EXCLUSIVE MODE")
        with pytest.raises(MigrationBlocked, match=r"held jobs.*Nothing was changed"):
            await migrate(database_url, patience=AT_ONCE)


async def test_the_second_waits_for_the_first_and_says_so(postgres_url: str) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    async with connected(postgres_url, "limner migrate") as first:
        transaction = first.transaction()
        await transaction.start()
        await first.execute(f"SELECT pg_advisory_xact_lock({0x11E4_0002})")
        second = asyncio.create_task(migrate(postgres_url, told.put_nowait, SOON))
        assert await asyncio.wait_for(told.get(), 10) == (
            "waiting: another migration of this database is at work"
        )
        await transaction.rollback()
        await asyncio.wait_for(second, 10)


async def test_a_writer_of_the_file_is_waited_for(sqlite_url: str) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    with file_of(sqlite_url) as writer:
        writer.execute("BEGIN IMMEDIATE")
        migration = asyncio.create_task(migrate(sqlite_url, told.put_nowait, SOON))
        assert "another program writes to" in await asyncio.wait_for(told.get(), 10)
        writer.execute("ROLLBACK")
        await asyncio.wait_for(migration, 10)
    await check_schema(sqlite_url)


async def test_two_processes_may_make_one_file_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/home/limner.sqlite"
    await asyncio.gather(*(migrate(url, patience=SOON) for _ in range(3)))
    await check_schema(url)


async def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/limner.sqlite"
    with file_of(url) as file:
        file.execute("CREATE TABLE webhooks (in_the_way INTEGER)")  # which 0008 makes
    with pytest.raises(StoreUnavailable, match="webhooks already exists"):
        await migrate(url)
    with file_of(url) as file:
        assert file.execute("SELECT name FROM sqlite_master").fetchall() == [("webhooks",)]
        file.execute("DROP TABLE webhooks")
    await migrate(url)
    await check_schema(url)


async def test_who_was_overtaken_by_a_later_release_refuses(postgres_url: str) -> None:
    """It waited for the other's lock; what it decides it decides on what it finds after that."""
    async with connected(postgres_url, "limner migrate") as later:
        transaction = later.transaction()
        await transaction.start()
        await later.execute(f"SELECT pg_advisory_xact_lock({0x11E4_0002})")
        told: asyncio.Queue[str] = asyncio.Queue()
        migration = asyncio.create_task(migrate(postgres_url, told.put_nowait, SOON))
        await asyncio.wait_for(told.get(), 10)
        await later.execute("UPDATE alembic_version SET version_num = '9999'")
        await transaction.commit()
        with pytest.raises(SchemaOutdated, match=f"newer than this program's {head()}"):
            await migration
