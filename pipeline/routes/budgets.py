"""What may be spent: set, look at and remove budgets."""

from typing import Annotated

from fastapi import APIRouter, Query

from pipeline.budget_limits import budget_list, remove_budget, set_budget
from pipeline.routes.dependencies import Running, Tenant
from schemas.replies import BudgetListResponse, BudgetResponse
from schemas.requests import BudgetName, BudgetRequest

router = APIRouter(prefix="/api/v1/images/budgets", tags=["budgets"])


@router.get("")
async def list_budgets(limner: Running, tenant: Tenant) -> BudgetListResponse:
    """All budgets, with what is spent, held and left of each; of daily ones today."""
    return await budget_list(tenant=tenant, journal=limner.journal)


@router.put("")
async def put_budget(wanted: BudgetRequest, limner: Running, tenant: Tenant) -> BudgetResponse:
    """Limit what may be spent, in all or each day, by everybody or for one blog. What was charged
    before counts; a limit below that lets nothing more be asked for."""
    return await set_budget(
        wanted.limit, wanted.period, wanted.blog_id, tenant=tenant, journal=limner.journal
    )


@router.delete("", status_code=204)
async def delete_budget(
    which: Annotated[BudgetName, Query()], limner: Running, tenant: Tenant
) -> None:
    """Remove a budget. 404 where there is none."""
    await remove_budget(which.period, which.blog_id, tenant=tenant, journal=limner.journal)
