"""Reads of paid calls, of what they cost and of budgets. Each takes the tenant, save the ledger of
what is overdue.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from schemas.requests import Period
from schemas.tables import (
    ALL,
    Budget,
    CallState,
    Job,
    ProviderCall,
    Spend,
)
from states.table import State

# Whoever waits for a lock on a table keeps all others waiting behind.
LONGEST_WAIT_SECONDS = 5


def calls_of_batch(session: Session, tenant: str, batch_id: UUID) -> Sequence[ProviderCall]:
    """The ledger of a batch's jobs."""
    return session.exec(
        select(ProviderCall)
        .join(Job, col(Job.id) == col(ProviderCall.job_id))
        .where(Job.batch_id == batch_id, ProviderCall.tenant == tenant)
    ).all()


def calls_of_jobs(session: Session, tenant: str, job_ids: Sequence[UUID]) -> Sequence[ProviderCall]:
    """The ledger of some jobs, each job's attempts in order."""
    return session.exec(
        select(ProviderCall)
        .where(col(ProviderCall.job_id).in_(job_ids), ProviderCall.tenant == tenant)
        .order_by(col(ProviderCall.job_id), col(ProviderCall.attempt))
    ).all()


class Charge(NamedTuple):
    """A call of the ledger, with what the cost of a blog needs of its job."""

    job_id: UUID
    quality: str
    is_draft: bool
    draft_job_id: UUID | None
    job_state: State
    call_state: CallState
    amount: Decimal | None
    price_book: str | None


def charges_of_blog(session: Session, tenant: str, blog_id: str) -> Sequence[Charge]:
    columns = (
        Job.id,
        Job.quality,
        Job.is_draft,
        Job.draft_job_id,
        Job.state,
        ProviderCall.state,
        ProviderCall.amount,
        ProviderCall.price_book,
    )
    rows = session.exec(
        sa.select(*columns)  # type: ignore[call-overload]  # eight columns are too many for SQLModel's select
        .join(ProviderCall, col(ProviderCall.job_id) == col(Job.id))
        .where(Job.tenant == tenant, Job.blog_id == blog_id)
    ).all()
    return [Charge(*row) for row in rows]


def budgets(session: Session, tenant: str, day: str) -> Sequence[tuple[Budget, Spend | None]]:
    """All budgets of a tenant, each with what is held and spent of it (*day* for daily ones)."""
    counted = sa.case((col(Budget.period) == Period.DAY, day), else_=ALL)
    return session.exec(
        select(Budget, Spend)
        .outerjoin(
            Spend,
            sa.and_(
                col(Spend.tenant) == col(Budget.tenant),
                col(Spend.blog_id) == col(Budget.blog_id),
                col(Spend.day) == counted,
            ),
        )
        .where(Budget.tenant == tenant)
        .order_by(col(Budget.blog_id), col(Budget.period))
    ).all()


def uncounted(session: Session, tenant: str, blog_id: str, day: str) -> Decimal:
    """What the ledger says was charged of a budget and its row in `spend` does not, in dollars.

    Waits until every group is through that looked at budgets before this: one of them may settle a
    call without having seen that it is counted by now. *blog_id* and *day* may be `ALL`.
    """
    if session.get_bind().dialect.name == "postgresql":
        # Whoever looks under locks, or writes what it decided for want of a budget, locks the table
        # as a whole for less; so this waits for theirs, and they for this.
        connection = session.connection(execution_options={"isolation_level": "READ COMMITTED"})
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LONGEST_WAIT_SECONDS}s'"))
        connection.execute(sa.text("LOCK TABLE budgets IN EXCLUSIVE MODE"))
    charged = (
        sa.select(col(ProviderCall.amount), sa.func.count())
        .join(Job, col(Job.id) == col(ProviderCall.job_id))
        .where(
            col(ProviderCall.tenant) == tenant,
            col(ProviderCall.state) == CallState.ANSWERED,
            col(ProviderCall.amount).is_not(None),
            sa.true() if blog_id == ALL else col(Job.blog_id) == blog_id,
            sa.true() if day == ALL else col(ProviderCall.day) == day,
        )
        .group_by(col(ProviderCall.amount))
    )
    counted = sa.select(col(Spend.spent), sa.literal(-1)).where(
        col(Spend.tenant) == tenant, col(Spend.blog_id) == blog_id, col(Spend.day) == day
    )
    # One statement, so that both are of one moment; added up here, since SQLite would use floats.
    rows = session.execute(sa.union_all(charged, counted)).all()
    return sum((amount * times for amount, times in rows), Decimal(0))


def call(session: Session, tenant: str, job_id: UUID, attempt: int) -> ProviderCall | None:
    return session.exec(
        select(ProviderCall).where(
            ProviderCall.job_id == job_id,
            ProviderCall.attempt == attempt,
            ProviderCall.tenant == tenant,
        )
    ).one_or_none()


def calls_page(
    session: Session,
    tenant: str,
    *,
    before: tuple[UUID, int] | None,
    limit: int,
    states: Sequence[CallState] = (),
    job_id: UUID | None = None,
) -> Sequence[tuple[ProviderCall, Job]]:
    """Calls with their jobs, from the newest job to the oldest, those after the call *before*."""
    query = (
        select(ProviderCall, Job)
        .join(Job, col(Job.id) == col(ProviderCall.job_id))
        .where(ProviderCall.tenant == tenant)
    )
    place = sa.tuple_(ProviderCall.job_id, ProviderCall.attempt)
    if before is not None:
        query = query.where(place < sa.tuple_(sa.literal(before[0], sa.Uuid()), before[1]))
    if states:
        query = query.where(col(ProviderCall.state).in_(states))
    if job_id is not None:
        query = query.where(ProviderCall.job_id == job_id)
    order = (col(ProviderCall.job_id).desc(), col(ProviderCall.attempt).desc())
    return session.exec(query.order_by(*order).limit(limit)).all()


class DayCharges(NamedTuple):
    """Equal calls of a day, and how many there were."""

    provider: str
    model: str
    state: CallState
    amount: Decimal | None
    number: int


def charges_of_day(
    session: Session, tenant: str, begins: datetime, ends: datetime
) -> Sequence[DayCharges]:
    """What providers were asked from *begins* until before *ends*."""
    kind = (
        col(ProviderCall.provider),
        col(ProviderCall.model),
        col(ProviderCall.state),
        col(ProviderCall.amount),
    )
    rows = session.exec(
        sa.select(*kind, sa.func.count())  # type: ignore[call-overload]  # five columns are too many for SQLModel's select
        .where(
            col(ProviderCall.tenant) == tenant,
            col(ProviderCall.created_at) >= begins,
            col(ProviderCall.created_at) < ends,
        )
        .group_by(*kind)
        .order_by(*kind[:2])
    ).all()
    return [DayCharges(*row) for row in rows]


def overdue_calls(
    session: Session, state: CallState, now: datetime, limit: int
) -> Sequence[ProviderCall]:
    """Open calls whose `due_at` has come, whatever their job's state. All tenants: the sweep's."""
    return session.exec(
        select(ProviderCall)
        .where(col(ProviderCall.due_at) <= now, ProviderCall.state == state)
        .order_by(col(ProviderCall.due_at))
        .limit(limit)
    ).all()
