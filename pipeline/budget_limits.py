"""Set, remove and show budgets. A new one counts what the ledger says was charged before it.

Calls are settled at the same time, by processes that may not have seen yet that there is a budget.
So it is made in three parts: a row from which on charges are counted, a look at the ledger once
nobody is at work any more who missed that row, and only then the limit.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import structlog

from adapters.store import money_reads
from pipeline.errors import BudgetExceeded, NoSuchBudget, PriceUnknown
from pipeline.journal import Journal
from schemas.replies import BudgetListResponse, BudgetResponse
from schemas.requests import Period
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import ALL, BudgetRow, SpendRow

log = structlog.get_logger(__name__)

ZERO = Decimal(0)


class Scope(NamedTuple):
    """One of the budgets that a picture falls under. *bit* stands for it in `held_in`."""

    bit: int
    tenant: str
    blog_id: str
    period: Period
    day: str

    @property
    def budget(self) -> RowKey:
        return RowKey(BudgetRow, (self.tenant, self.blog_id, self.period))

    @property
    def spend(self) -> RowKey:
        return RowKey(SpendRow, (self.tenant, self.blog_id, self.day))


def standing(budget: BudgetRow, spend: SpendRow | None, day: str) -> BudgetResponse | None:
    """Where a budget stands on *day* (`ALL` for a total); None where it limits nothing."""
    if budget.amount is None:
        return None
    spent = budget.uncounted if budget.uncounted_on == day else ZERO
    held = ZERO
    if spend is not None:
        spent, held = spent + spend.spent, spend.held
    return BudgetResponse(
        blog_id=budget.blog_id or None,
        period=budget.period,
        day=day or None,
        limit=budget.amount,
        spent=spent,
        held=held,
        left=budget.amount - spent - held,
    )


def day_of(moment: datetime) -> str:
    """The day on whose budgets something counts; times are UTC everywhere."""
    return moment.date().isoformat()


def scopes(tenant: str, blog_id: str | None, day: str) -> tuple[Scope, ...]:
    """The budgets of a picture that counts on *day*."""
    all_blogs = (Scope(1, tenant, ALL, Period.TOTAL, ALL), Scope(2, tenant, ALL, Period.DAY, day))
    if blog_id is None:
        return all_blogs
    total = Scope(4, tenant, blog_id, Period.TOTAL, ALL)
    return (*all_blogs, total, Scope(8, tenant, blog_id, Period.DAY, day))


def root(tenant: str) -> RowKey:
    """The row that is there as soon as the tenant has any budget."""
    return RowKey(BudgetRow, (tenant, ALL, Period.TOTAL))


def refusal(
    budgets: Iterable[BudgetResponse], price: Decimal | None
) -> BudgetExceeded | PriceUnknown | None:
    """Why *price* is not admitted, by the budget that has the least left; None where it is."""
    least = min(budgets, key=lambda budget: budget.left, default=None)
    if least is None:
        return None
    if price is None:
        return PriceUnknown(least)
    return BudgetExceeded(price, least) if price > least.left else None


async def set_budget(
    limit: Decimal, period: Period, blog_id: str | None, *, tenant: str, journal: Journal
) -> BudgetResponse:
    """Limit what may be spent to *limit* (USD), from now on; return where the budget stands.

    What is spent and held already may be more: then nothing is admitted any more.
    """
    await journal.record(_counting(_scope(period, blog_id, tenant, journal.now()), journal.now()))
    now = journal.now()
    scope = _scope(period, blog_id, tenant, now)
    uncounted = await journal.read(money_reads.uncounted, tenant, scope.blog_id, scope.day)
    budget = await journal.record(_limiting(scope, limit, uncounted, now))
    log.info("budget_set", blog_id=blog_id, period=period.value, limit=str(limit))
    return budget


async def remove_budget(
    period: Period, blog_id: str | None, *, tenant: str, journal: Journal
) -> None:
    """Limit nothing any more. What is charged goes on being counted."""
    now = journal.now()
    key = _scope(period, blog_id, tenant, now).budget

    def decide(look: Look, writes: Writes) -> None:
        budget = look.get(BudgetRow, *key.key)
        if budget is None or budget.amount is None:
            raise NoSuchBudget(period, blog_id)
        writes.update(budget.changed(amount=None, set_at=now), *key.key)

    await journal.record(Step("remove_budget", decide, shared=(key,)))
    log.info("budget_removed", blog_id=blog_id, period=period.value)


async def budget_list(*, tenant: str, journal: Journal) -> BudgetListResponse:
    return BudgetListResponse(budgets=await limits(tenant, journal))


async def limits(tenant: str, journal: Journal) -> list[BudgetResponse]:
    """Where all of the tenant's budgets stand."""
    day = day_of(journal.now())
    found = await journal.read(money_reads.budgets, tenant, day)
    standings = (
        standing(budget, spend, day if budget.period is Period.DAY else ALL)
        for budget, spend in found
    )
    return [one for one in standings if one is not None]


def _scope(period: Period, blog_id: str | None, tenant: str, now: datetime) -> Scope:
    *_, total, daily = scopes(tenant, blog_id, day_of(now))
    return total if period is Period.TOTAL else daily


def _counting(scope: Scope, now: datetime) -> Step[None]:
    """Have charges counted that fall under the budget, from this commit on."""
    keys = tuple(dict.fromkeys((root(scope.tenant), scope.budget)))

    def decide(look: Look, writes: Writes) -> None:
        for key in keys:
            if look.get(BudgetRow, *key.key) is None:
                tenant, blog_id, period = key.key
                row = BudgetRow.of(tenant=tenant, blog_id=blog_id, period=period, set_at=now)
                writes.insert(row, *key.key)

    return Step("count_budget", decide, shared=keys)


def _limiting(
    scope: Scope, limit: Decimal, uncounted: Decimal, now: datetime
) -> Step[BudgetResponse]:
    def decide(look: Look, writes: Writes) -> BudgetResponse:
        counting = look.get(BudgetRow, *scope.budget.key)
        assert counting is not None
        budget = counting.changed(
            amount=limit, uncounted=uncounted, uncounted_on=scope.day, set_at=now
        )
        writes.update(budget, *scope.budget.key)
        stands = standing(budget, look.get(SpendRow, *scope.spend.key), scope.day)
        assert stands is not None
        return stands

    return Step("set_budget", decide, shared=(scope.budget, scope.spend))
