"""Calls whose outcome a person must decide, and what the calls of a day cost."""

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query

from pipeline.calls import day_costs, resolve_call, unknown_calls
from pipeline.routes.dependencies import Running, Tenant
from schemas.replies import CallListResponse, CallResponse, DayCostsResponse
from schemas.requests import CallResolution

Day = Annotated[date | None, Query(ge=date(2000, 1, 1), lt=date(3000, 1, 1))]

router = APIRouter(prefix="/api/v1/images", tags=["costs"])


@router.get("/calls")
async def list_calls(
    limner: Running, tenant: Tenant, state: Literal["unknown"] = "unknown"
) -> CallListResponse:
    """Calls of which nobody knows whether they were charged, the oldest first."""
    return await unknown_calls(tenant=tenant, journal=limner.journal)


@router.post("/calls/{job_id}/{attempt}/resolve")
async def resolve(
    job_id: UUID,
    attempt: Annotated[int, Path(ge=1, le=2**31 - 1)],
    found: CallResolution,
    limner: Running,
    tenant: Tenant,
) -> CallResponse:
    """Settle a call by what was found at the provider; what is held for it is charged or freed.
    The same again changes nothing, another verdict is a 409. The job stays as it is."""
    return await resolve_call(
        job_id,
        attempt,
        verdict=found.verdict,
        amount=found.amount,
        tenant=tenant,
        journal=limner.journal,
    )


@router.get("/costs")
async def get_day_costs(limner: Running, tenant: Tenant, day: Day = None) -> DayCostsResponse:
    """What the calls that were begun on *day* (UTC, today) have cost and may cost."""
    asked = day or limner.journal.now().date()
    return await day_costs(asked, tenant=tenant, journal=limner.journal)
