"""SQLite's file is deleted, replaced or no database: nothing is accepted into the void."""

import os
from pathlib import Path

import pytest

from adapters.errors import StoreUnavailable
from adapters.store import machine_reads
from adapters.store.database import migrate, open_store
from tests.jobs import create, new_job


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_deleted_or_replaced_file_takes_no_write_and_no_read(
    sqlite_url: str, replaced: bool
) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    store = open_store(sqlite_url)
    await store.commit([create(new_job())])
    assert await store.read(machine_reads.alive)
    os.rename(path, path.with_suffix(".old"))
    if replaced:
        await migrate(sqlite_url)
    with pytest.raises(StoreUnavailable):
        await store.commit([create(new_job())])
    with pytest.raises(StoreUnavailable):
        await store.read(machine_reads.alive)
    await store.close()


async def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "limner.sqlite"
    path.write_bytes(os.urandom(8192))
    with pytest.raises(StoreUnavailable, match=r"limner\.sqlite"):
        await migrate(f"sqlite:///{path}")
    store = open_store(f"sqlite:///{path}")
    with pytest.raises(StoreUnavailable):
        await store.read(machine_reads.alive)
    with pytest.raises(StoreUnavailable):
        await store.commit([create(new_job())])
    await store.close()


async def test_a_clean_end_leaves_everything_in_the_one_file(sqlite_url: str) -> None:
    """Who copies the file of a stopped service has all of it."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    store = open_store(sqlite_url)
    await store.commit([create(new_job())])
    assert await store.read(machine_reads.alive)
    await store.close()
    assert sorted(os.listdir(path.parent)) == [path.name]
