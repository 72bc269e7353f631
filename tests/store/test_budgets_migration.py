"""A ledger of the release before counts on the days (UTC) of its calls, in budgets of today."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import uuid4

import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

from adapters.store import money_reads
from adapters.store.database import open_store
from schemas.migrations.run import config, upgrade
from schemas.tables import ALL, CallState, ProviderCall
from tests.jobs import create, new_job
from tests.store.test_migrations import on

OURS = "0006"
JOB = new_job(id=uuid4(), blog_id="post")
# In the evening of the 30th in UTC, though not where it was written.
EVENING = datetime(2026, 1, 31, 1, 30, tzinfo=timezone(timedelta(hours=2)))
MADE = {1: EVENING, 2: datetime(2026, 1, 31, tzinfo=UTC)}


async def test_calls_of_the_release_before_count_on_the_day_on_which_they_were_made(
    database_url: str,
) -> None:
    await on(database_url, _as_it_was)
    await on(database_url, _upgraded)
    store = open_store(database_url)
    try:
        await store.commit([create(JOB)])
        days = [(await store.read(money_reads.call, "default", JOB.id, n)).day for n in MADE]  # type: ignore[union-attr]
        assert days == ["2026-01-30", "2026-01-31"]
        for day, charged in ((ALL, "0.05"), ("2026-01-31", "0.025"), ("2026-02-01", "0")):
            found = await store.read(money_reads.uncounted, "default", "post", day)
            assert found == Decimal(charged)
    finally:
        await store.close()


def _as_it_was(connection: sa.Connection) -> None:
    SQLModel.metadata.drop_all(connection)
    connection.execute(sa.text("DROP TABLE alembic_version"))
    before = ScriptDirectory.from_config(config()).get_revision(OURS).down_revision
    command.upgrade(config(connection), str(before))
    columns = [
        sa.column(one.name, one.type)
        for one in ProviderCall.__table__.columns  # type: ignore[attr-defined]  # SQLModel sets it
        if one.name not in ("day", "price_book", "held", "held_in")
    ]
    calls = sa.table("provider_calls", *columns)
    for attempt, created_at in MADE.items():
        connection.execute(
            sa.insert(calls).values(
                job_id=JOB.id, attempt=attempt, tenant="default", provider="p", model="m",
                state=CallState.ANSWERED, lease_token="t", amount=Decimal("0.025"), surplus=False,
                created_at=created_at,
            )
        )  # fmt: skip
    connection.commit()


def _upgraded(connection: sa.Connection) -> None:
    upgrade(connection)
    connection.commit()
