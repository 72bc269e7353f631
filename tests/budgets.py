"""Budgets for tests: set, read, and added up again from jobs, calls and ledger."""

from decimal import Decimal
from uuid import UUID

from sqlmodel import Session, select

from pipeline.budget_limits import budget_list, set_budget
from pipeline.cancel import cancel
from pipeline.retry import retry
from schemas.replies import BudgetResponse
from schemas.requests import Period
from schemas.tables import Budget, CallState, Job, JobRow, ProviderCall, Spend
from states.table import State
from tests.fakes.clock import FakeClock
from tests.fakes.provider import COST
from tests.world import TENANT, World

NOTHING = Decimal(0)
PLENTY = 100 * COST


async def limit(
    world: World,
    amount: Decimal = PLENTY,
    period: Period = Period.TOTAL,
    blog_id: str | None = None,
    tenant: str = TENANT,
) -> BudgetResponse:
    return await set_budget(amount, period, blog_id, tenant=tenant, journal=world.journal)


async def stands(world: World, blog_id: str | None = None) -> list[tuple[Decimal, Decimal]]:
    """Held and spent of a blog's budgets, by day and in all; everything adds up, or this fails."""
    await world.store.read(_adds_up)
    found = (await budget_list(tenant=TENANT, journal=world.journal)).budgets
    assert all(one.left == one.limit - one.held - one.spent for one in found)
    return [(one.held, one.spent) for one in found if one.blog_id == blog_id]


def _adds_up(session: Session) -> None:
    """What is counted is what jobs and calls hold and what the ledger charged, budget by budget."""
    jobs = {job.id: job for job in session.exec(select(Job)).all()}
    calls = session.exec(select(ProviderCall)).all()
    holds = [(job, job.held_on, job.held, job.held_in or 0) for job in jobs.values()]
    holds += [(jobs[one.job_id], one.day, one.held, one.held_in or 0) for one in calls]
    budgets = {(one.tenant, one.blog_id, one.period): one for one in session.exec(select(Budget))}
    for spend in session.exec(select(Spend)).all():
        bit = (4 if spend.blog_id else 1) * (2 if spend.day else 1)
        held = [
            amount
            for job, day, amount, bits in holds
            if amount is not None
            and bits & bit
            and spend.blog_id in ("", job.blog_id)
            and spend.day in ("", day)
        ]
        assert sum(held, NOTHING) == spend.held, spend
        charged = [
            call.amount
            for call in calls
            if call.state is CallState.ANSWERED
            and call.amount is not None
            and spend.blog_id in ("", jobs[call.job_id].blog_id)
            and spend.day in ("", call.day)
        ]
        period = Period.DAY if spend.day else Period.TOTAL
        budget = budgets[spend.tenant, spend.blog_id, period]
        if budget.uncounted_on == spend.day and budget.amount is not None:
            assert sum(charged, NOTHING) == budget.uncounted + spend.spent, spend
    for job in jobs.values():
        assert job.held is None or job.state in (State.QUEUED, State.RUNNING), job
    for call in calls:
        assert call.held is None or call.state in (CallState.UNKNOWN, CallState.INTENT), call


async def stop(world: World, job_id: UUID) -> None:
    await cancel(job_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)


async def again(world: World, job_id: UUID) -> JobRow:
    worker = world.worker
    return await retry(
        job_id,
        tenant=TENANT,
        journal=world.journal,
        ids=worker.ids,
        blobs=world.blobs,
        providers=worker.providers,
    )


async def later(world: World, seconds: float) -> None:
    """Let time pass, then sweep once."""
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(seconds)
    await world.sweep.once()
