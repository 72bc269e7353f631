"""PostgreSQL's store keeps rows from one look to the next, and is never wrong about one of them."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from adapters.errors import StoreRejected
from adapters.store.columns import Flat, can_take_flat
from adapters.store.database import AnyStore, open_store
from pipeline.move import job_key
from schemas.step import Look, SentMark, Step, Writes
from schemas.tables import JobRow
from states.table import Trigger
from tests.jobs import create, new_job, pull
from tests.pipeline.test_journal import blocked


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[AnyStore]:
    opened = open_store(postgres_url)
    yield opened
    await opened.close()


async def looked_at(store: AnyStore, job_id: UUID) -> JobRow | None:
    def decide(look: Look, _: Writes) -> JobRow | None:
        return look.get(JobRow, job_id)

    (outcome,) = await store.commit([Step("look", decide, (job_key(job_id),))])
    found: JobRow | None = outcome.answer
    return found


async def known_job(store: AnyStore) -> JobRow:
    """A job that *store* has looked at."""
    job = new_job()
    await store.commit([create(job)])
    assert await looked_at(store, job.id) == job
    return job


async def as_stored(url: str, job: JobRow) -> JobRow | None:
    """The row as a process sees it that knows nothing."""
    fresh = open_store(url)
    found = await looked_at(fresh, job.id)
    await fresh.close()
    return found


async def test_what_another_process_has_written_is_seen(store: AnyStore, postgres_url: str) -> None:
    job = await known_job(store)
    other = open_store(postgres_url)
    await other.commit([pull(job.id, Trigger.START, lease_token="other")])
    await other.close()
    found = await looked_at(store, job.id)
    assert found == await as_stored(postgres_url, job)
    assert found is not None
    assert found.lease_token == "other"


async def test_even_what_is_written_once_may_be_changed_by_hand(
    store: AnyStore, postgres_url: str
) -> None:
    job = await known_job(store)
    by_hand = await asyncpg.connect(postgres_url)
    await by_hand.execute("UPDATE jobs SET blog_id = 'elsewhere'")
    await by_hand.close()
    found = await looked_at(store, job.id)
    assert found is not None
    assert found.blog_id == "elsewhere"


async def test_a_look_that_waited_for_another_process_sees_what_that_one_wrote(
    store: AnyStore, postgres_url: str
) -> None:
    job = await known_job(store)
    other, watching = [await asyncpg.connect(postgres_url) for _ in range(2)]
    async with other.transaction():
        await other.execute("UPDATE jobs SET resumes = 3")
        looking = asyncio.create_task(looked_at(store, job.id))
        await blocked(watching)
    found = await looking
    assert found is not None
    assert found.resumes == 3
    await other.close()
    await watching.close()


@pytest.mark.parametrize(
    "columns",
    [
        {"cost": Decimal("0.0000005")},
        {"cost": Decimal("0.1")},
        {"result": {"fidelity": (1, 2), "b": 0.1, "a": None}},
        {"warnings": ["ä, 画, 🖼"], "error": {"code": "x", "details": {1: 2}}},
        {"lease_token": "mine", "cost": None},
    ],
)
async def test_what_it_wrote_itself_is_known_as_the_database_gives_it_back(
    store: AnyStore, postgres_url: str, columns: dict[str, Any]
) -> None:
    job = await known_job(store)
    await store.commit([pull(job.id, Trigger.START, **columns)])
    found, stored = await looked_at(store, job.id), await as_stored(postgres_url, job)
    assert found == stored
    assert found is not None
    assert stored is not None
    assert (str(found.cost), found.result) == (str(stored.cost), stored.result)  # 0.1 is 0.100000


async def test_a_sent_mark_of_the_same_group_is_seen(store: AnyStore) -> None:
    job = await known_job(store)
    started = pull(job.id, Trigger.START)

    def mark(_: Look, writes: Writes) -> None:
        writes.sent.append(SentMark(job.id, job.attempt, job.dispatch, "queue-1"))

    await store.commit([started, Step("mark_sent", mark)])
    found = await looked_at(store, job.id)
    assert found is not None
    assert (found.version, found.dispatched_to) == (2, "queue-1")


async def test_what_was_rolled_back_is_not_known(store: AnyStore, postgres_url: str) -> None:
    job, other = await known_job(store), new_job()
    impossible = create(other.changed(wake_at=None))
    with pytest.raises(StoreRejected):
        await store.commit([pull(job.id, Trigger.START), impossible])
    assert await looked_at(store, job.id) == job
    await store.commit([pull(job.id, Trigger.CANCEL)])
    assert await looked_at(store, job.id) == await as_stored(postgres_url, job)


async def test_asyncpg_writes_flat_values_as_it_writes_lists(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    assert await can_take_flat(connection)
    for kind, values in {
        "text": ["a", None, 'quotes " and \\', "画", ""],
        "int4": [1, None, -3],
        "uuid": [UUID(int=1), UUID(int=2)],
        "bool": [],
    }.items():
        statement = f"SELECT $1::{kind}[]"
        assert await connection.fetchval(statement, Flat(values)) == values
    await connection.close()
