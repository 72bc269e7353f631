"""The database itself refuses what no trigger allows, whoever asks."""

import itertools
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from adapters.store.database import open_store
from schemas.guards import DDL
from states.table import LEGAL_PAIRS, TERMINAL, State
from tests.jobs import create, new_job

Attack = Callable[[str], Awaitable[None]]
Refused = (sqlite3.IntegrityError, asyncpg.CheckViolationError)


@pytest.fixture
async def job_id(database_url: str) -> AsyncIterator[UUID]:
    store = open_store(database_url)
    job = new_job()
    await store.commit([create(job)])
    yield job.id
    await store.close()


@pytest.fixture
async def attack(database_url: str, job_id: UUID) -> AsyncIterator[Attack]:
    """Runs hand-written SQL on the one job; `{id}` stands for its id."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        with sqlite3.connect(str(url.database)) as connection:

            async def on_sqlite(sql: str) -> None:
                connection.execute(sql.format(id=f"'{job_id.hex}'"))

            yield on_sqlite
        connection.close()
        return
    postgres: Any = await asyncpg.connect(database_url)

    async def on_postgres(sql: str) -> None:
        await postgres.execute(sql.format(id=f"'{job_id}'"))

    yield on_postgres
    await postgres.close()


def update(state: State, version: int) -> str:
    ended = f"'{datetime.now(UTC):%Y-%m-%d %H:%M:%S}'" if state in TERMINAL else "NULL"
    return (
        f"UPDATE jobs SET state = '{state.value}', version = {version}, ended_at = {ended}"
        " WHERE id = {id}"
    )


# For each state one way to it, by legal moves from queued.
WAYS: dict[State, tuple[State, ...]] = {
    State.QUEUED: (),
    State.RUNNING: (State.RUNNING,),
    State.PROCESSING_RESULT: (State.RUNNING, State.PROCESSING_RESULT),
    State.COMPLETED: (State.RUNNING, State.PROCESSING_RESULT, State.COMPLETED),
    State.FAILED: (State.FAILED,),
    State.CANCELLED: (State.CANCELLED,),
}


@pytest.mark.parametrize("source", State)
async def test_exactly_the_tables_pairs_pass_the_guard(attack: Attack, source: State) -> None:
    version = 1
    for state in WAYS[source]:
        version += 1
        await attack(update(state, version))
    illegal = [
        target for target in State if target != source and (source, target) not in LEGAL_PAIRS
    ]
    for target in illegal:
        with pytest.raises(Refused):
            await attack(update(target, version + 1))
    legal = sorted(target for target in State if (source, target) in LEGAL_PAIRS)
    if legal:
        await attack(update(legal[0], version + 1))


async def test_completed_never_goes_back_to_queued(attack: Attack) -> None:
    for version, state in enumerate(WAYS[State.COMPLETED], 2):
        await attack(update(state, version))
    with pytest.raises(Refused):
        await attack(update(State.QUEUED, 5))


@pytest.mark.parametrize(
    ("state", "version"),
    [(State.RUNNING, 1), (State.RUNNING, 3), (State.QUEUED, 3), (State.QUEUED, 0)],
)
async def test_a_skipped_or_reused_version_is_refused(
    attack: Attack, state: State, version: int
) -> None:
    with pytest.raises(Refused):
        await attack(update(state, version))


async def test_a_move_without_a_new_version_is_refused_and_a_new_version_alone_is_not(
    attack: Attack,
) -> None:
    with pytest.raises(Refused):
        await attack(update(State.CANCELLED, 1))
    await attack("UPDATE jobs SET version = 2 WHERE id = {id}")
    await attack("UPDATE jobs SET dispatch = 9 WHERE id = {id}")


async def test_an_open_job_without_a_wake_up_is_refused(attack: Attack) -> None:
    with pytest.raises(Refused):
        await attack("UPDATE jobs SET wake_at = NULL WHERE id = {id}")


async def test_an_unknown_state_is_refused(attack: Attack) -> None:
    with pytest.raises(Refused):
        await attack("UPDATE jobs SET state = 'lost', version = 2 WHERE id = {id}")


async def test_a_second_event_for_a_version_is_refused(attack: Attack) -> None:
    with pytest.raises((sqlite3.IntegrityError, asyncpg.UniqueViolationError)):
        await attack(
            "INSERT INTO events (stream_kind, stream_id, seq, event_id, tenant, type, data,"
            " occurred_at) SELECT stream_kind, stream_id, seq, event_id, tenant, type, data,"
            " occurred_at FROM events"
        )


def test_the_guards_name_every_legal_pair_on_both_databases() -> None:
    for statements in DDL.values():
        text = "\n".join(statements)
        for source, target in itertools.product(State, State):
            pair = f"(OLD.state = '{source.value}' AND NEW.state = '{target.value}')"
            assert (pair in text) == ((source, target) in LEGAL_PAIRS)
